"""Every evaluation on test images is counted by their fingerprint, over the whole store."""

from __future__ import annotations

from cifar import tracking
from cifar.config.settings import TrackingSettings
from cifar.tracking import queries
from helpers.runs import record, sqlite


def test_evaluations_count_by_the_images(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = sqlite(tmp_path)
    ids = [record(uri, "a", "seed=1"), record(uri, "b", "seed=2"), record(uri, "c", "data.limit=100")]
    tracking.connect(uri)
    first, second, other = queries.find_runs(ids)
    images = first.test_images
    assert images == second.test_images != other.test_images
    assert queries.looks(images) == (2, 2), "runs of earlier versions, which did not count themselves"
    tracking.EndedRun(first).count_look(images)
    tracking.EndedRun(other).count_look(images)
    assert queries.looks(images) == (4, 3)
    assert queries.looks(other.test_images) == (1, 1)
    with tracking.start(TrackingSettings(uri=uri, experiment="digits", name="new", parent=None)) as run:
        run.log_look(images)
        run.log_look(images)
    assert queries.looks(images) == (6, 4)

    done = command(uri, "compare", *ids[:2])
    (line,) = [line.split() for line in done.stdout.splitlines() if line.startswith(images[:12])]
    assert (done.code, line[-2:]) == (0, ["6", "4"])

"""A run that was killed at any point, and resumed, ends as the one that nothing disturbed, to the bit."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

import mlflow
import pytest

from cifar.runtime.paths import ROOT
from helpers.processes import KILLED_WRITING, Completed, run_warm, slowdown, wait_for, warm_server
from helpers.runs import sqlite

SETTINGS = (
    "data=digits", "model.filters=[8,8]", "model.classifier.units=[16]", "batch_size=16", "epochs=5",
    "augmentation=[rotation,alternating_flip,brightness,mixup,cutmix]", "weight_averaging=ema", "schedule=constant",
    "callbacks=[checkpoint,early_stopping,reduce_lr]", "callbacks.reduce_lr.patience=1", "state.minutes=0.002",
)  # fmt: skip


def run(store: Path, *overrides: str) -> Completed:
    return run_warm(ROOT / "run.py", *overrides, f"tracking.uri={sqlite(store)}", cwd=store)


def kill(store: Path, *overrides: str, after: float) -> int:
    """Start a run and SIGKILL it `after` seconds from its first line on; its exit code."""
    process = warm_server().start(ROOT / "run.py", *overrides, f"tracking.uri={sqlite(store)}", cwd=store)
    wait_for(process.stdout)
    time.sleep(after)
    process.signal(signal.SIGKILL)
    return process.wait().code


def only_run(store: Path) -> mlflow.entities.Run:
    client = mlflow.MlflowClient(sqlite(store))
    (experiment,) = [found.experiment_id for found in client.search_experiments() if found.name == "digits"]
    # A run that was killed before it had recorded its settings cannot be known again.
    (found,) = client.search_runs([experiment], "tags.settings_sha256 != ''")
    return found


def history(store: Path) -> dict[str, list[tuple[int, float]]]:
    """All that was recorded of each epoch, but for its time."""
    client, recorded = mlflow.MlflowClient(sqlite(store)), only_run(store)
    return {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(recorded.info.run_id, name)]
        for name in recorded.data.metrics
        if name != "images_per_second"
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    store = tmp_path_factory.mktemp("undisturbed")
    done = run(store, *SETTINGS)
    assert done.code == 0, done.stderr
    return store


def assert_same(store: Path, undisturbed: Path) -> None:
    recorded, expected = only_run(store), only_run(undisturbed)
    assert recorded.info.status == "FINISHED"
    assert recorded.data.tags["weights_sha256"] == expected.data.tags["weights_sha256"]
    assert history(store) == history(undisturbed)


@pytest.mark.slow
def test_ctrl_c_within_an_epoch_and_resume(tmp_path, undisturbed):
    process = warm_server().start(ROOT / "run.py", *SETTINGS, f"tracking.uri={sqlite(tmp_path)}", cwd=tmp_path)
    wait_for(lambda: "\nepoch" in process.stdout())
    process.signal(signal.SIGINT)
    start = time.monotonic()
    done = process.wait()
    run_id = done.stdout.split()[1].rstrip(":")
    way = f"python run.py resume={run_id} tracking.uri={sqlite(tmp_path)}"
    assert (done.code, done.stderr) == (130, f"interrupted by SIGINT; {way} resumes the run\n")
    assert time.monotonic() - start < 10 * slowdown()
    assert only_run(tmp_path).info.status == "KILLED"

    refused = run(tmp_path, f"resume={run_id}", "optimizer.lr=0.5")
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)
    assert "optimizer.lr=0.5 (the run has 0.006)" in refused.stderr

    resumed = run(tmp_path, f"resume={run_id}")
    assert resumed.code == 0
    assert re.match(
        r"run .*\n(    .*\n)+resumed (in epoch \d+ of \d+, after step \d+ of \d+|at epoch \d+ of \d+)\nepoch ",
        resumed.stdout,
    )
    assert_same(tmp_path, undisturbed)
    finished = run(tmp_path, f"resume={run_id}")
    assert finished.code == 2
    assert finished.stderr == f"error: resume={run_id}: the run is finished; epochs=N with N above 5 extends it\n"


@pytest.mark.slow
def test_sigkill_at_20_points(tmp_path, undisturbed):
    """15 at random times, 5 while a state is being written; each time the run goes on by `resume=auto`."""
    dice = random.Random(0)
    killed = 0
    for attempt in range(20):
        if attempt % 4 == 3:
            writing = tmp_path / "killed_writing.py"
            writing.write_text(KILLED_WRITING)
            overrides = (*SETTINGS, "resume=auto", f"tracking.uri={sqlite(tmp_path)}")
            done = run_warm(writing, dice.randint(1, 12), ROOT / "run.py", *overrides, cwd=tmp_path)
            assert done.code == 0 or not done.stderr, done.stderr
            code = done.code
        else:
            code = kill(tmp_path, *SETTINGS, "resume=auto", after=dice.uniform(0, 4))
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        if code == 0:
            break
    assert killed >= 5
    if only_run(tmp_path).info.status != "FINISHED":
        done = run(tmp_path, *SETTINGS, "resume=auto")
        assert done.code == 0, done.stderr
    assert_same(tmp_path, undisturbed)

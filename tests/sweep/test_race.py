"""`hydra/sweeper=race`: which jobs it runs, what it records and prints, and that it is resumed; no job is trained."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

from cifar import tracking
from cifar.config.settings import TrackingSettings
from cifar.sweep import jobs
from helpers.processes import Completed
from helpers.runs import sqlite
from helpers.sweeps import end_jobs_at_once

TINY = ("data=digits", "data.limit=200", "epochs=1", "objective=val/accuracy")
NOISE = (0.01, -0.02, 0.0, 0.015, -0.005, 0.02, -0.01, 0.005, 0.0, 0.01)


def settings_of(job: jobs.Job) -> dict[str, str]:
    return {key: value.strip('"') for key, _, value in (part.partition("=") for part in job.overrides)}


@pytest.fixture
def started(monkeypatch) -> Iterator[list[str]]:
    """The names of the jobs that races start in this test, each recorded at once with an accuracy by `model.filters`.

    More filters are better, and the job with one filter fails.
    """
    begun = []

    def report(job: jobs.Job) -> dict[str, str]:
        own, filters = settings_of(job), settings_of(job)["model.filters"].strip("[]")
        noise = NOISE[int(own["seed"]) % 10] * (-1) ** int(filters)
        stated = {"uri": own["tracking.uri"], "experiment": "digits", "parent": own["tracking.parent"]}
        with tracking.start(TrackingSettings(name=own["tracking.name"], **stated)) as run:
            run.log_metrics({"best/accuracy": 0.5 + 0.02 * int(filters) + noise})
        begun.append(job.name)
        return {"status": "FAILED" if filters == "1" else "FINISHED", "run": run.id, "reason": "made to fail"}

    end_jobs_at_once(monkeypatch, report)
    return begun


@pytest.fixture
def race(in_process, tmp_path, started, monkeypatch) -> Callable[..., Completed]:
    """race(*arguments): `python run.py --multirun hydra/sweeper=race ARGUMENTS…`, which decides after few seeds."""
    monkeypatch.setattr("cifar.sweep.pictures.record", lambda *_: None)
    command = ("--multirun", "hydra/sweeper=race", "hydra.sweeper.effect=2", *TINY, f"tracking.uri={sqlite(tmp_path)}")
    return lambda *arguments: in_process(*command, *arguments)


def parent(folder: Path) -> mlflow.entities.Run:
    client = mlflow.MlflowClient(sqlite(folder))
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    (found,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return found


def test_verdict_ends_the_race_and_is_recorded(race, started, tmp_path):
    done = race("model.filters=[4],[9]", "seed=3")
    assert done.code == 0, done
    seeds = len(started) // 2
    assert 3 <= seeds < 10
    assert started == [f"model.filters=[{n}] seed={seed}" for seed in range(3, 3 + seeds) for n in (4, 9)]
    verdict = done.stdout.strip().splitlines()[-1]
    assert verdict.startswith(f"verdict after {seeds} seeds: model.filters=[9] is better: val/accuracy +0.0900 [")
    assert "val/accuracy after 2 seeds: model.filters=[9] 0.6" in done.stdout
    tags, artifacts = parent(tmp_path).data.tags, parent(tmp_path).info.artifact_uri
    assert (tags["race.verdict"], tags["race.best"]) == ("better", "model.filters=[9]")
    assert (tags["race"], tags["race.seeds"]) == (verdict, str(seeds))
    rows = list(csv.DictReader(io.StringIO(mlflow.artifacts.load_text(f"{artifacts}/tables/race.csv"))))
    assert [int(row["seed"]) for row in rows] == list(range(3, 3 + seeds))
    assert float(rows[-1]["low"]) < float(rows[-1]["mean"]) < float(rows[-1]["high"]) < 0
    assert float(rows[-1]["p, second is not better"]) <= 0.025 < float(rows[-2]["p, second is not better"])
    pictures = mlflow.artifacts.list_artifacts(f"{artifacts}/pictures")
    assert [Path(picture.path).name for picture in pictures] == ["race.png"]


@pytest.mark.slow
def test_race_that_is_undecided_continues_with_a_greater_budget(race, started, tmp_path):
    done = race("model.filters=[4],[9]", "hydra.sweeper.max_seeds=2")
    assert done.code == 0
    assert done.stdout.splitlines()[-1].startswith("no verdict after 2 seeds: the budget is spent")
    first = race("model.filters=[9],[4]")
    assert first.stdout.splitlines()[-1].startswith("verdict after")
    assert len(started) == len(set(started))
    again = race("model.filters=[4],[9]")
    assert len(started) == len(set(started)), "a finished job has been run again"
    assert first.stdout.splitlines()[-1] == again.stdout.splitlines()[-1]
    assert parent(tmp_path).data.tags["race.verdict"] == "better"


def test_contenders_that_are_not_the_best_are_not_trained_further(race, started):
    done = race("model.filters=[3],[9],[8]", "hydra.sweeper.max_seeds=7", "hydra.launcher.n_jobs=4")
    assert done.code == 0
    counts = {n: sum(name.startswith(f"model.filters=[{n}] ") for name in started) for n in (3, 8, 9)}
    assert counts[3] < 7 == counts[8] == counts[9]
    assert started[3] == "model.filters=[3] seed=1", "the free slot is for the next seed"
    assert "model.filters=[3] −0.1" in done.stdout and ", out" in done.stdout


@pytest.mark.slow
def test_contender_that_fails_is_left_out_and_tried_again(race, started):
    done = race("model.filters=[4],[1],[9]")
    assert done.code == 1
    assert "model.filters=[9] is better" in done.stdout and "; model.filters=[1] failed" in done.stdout
    assert started.count("model.filters=[1] seed=0") == 1 and "model.filters=[1] seed=1" not in started
    race("model.filters=[4],[1],[9]")
    assert started.count("model.filters=[1] seed=0") == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("model.filters=[4]", "hydra/sweeper=race: no contenders, such as model=cnn3,resnet20"),
        ("model.filters=[4],[8] seed=1,2", "seed=1,2: a race takes the seeds from one on, such as seed=0"),
        ("batch_size=32,32", "hydra/sweeper=race: two contenders have the same settings"),
        ("batch_size=32,64 objective=model/flops",
         "hydra/sweeper=race: compares by one validation metric, not by objective=model/flops"),
        ("batch_size=32,64 objective=[val/loss,val/accuracy]",
         "hydra/sweeper=race: compares by one validation metric, not by objective=val/loss, val/accuracy"),
        ("batch_size=32,64 hydra.sweeper.max_seeds=1",
         "hydra.sweeper.max_seeds=1: should be greater than or equal to 2"),
        ("batch_size=32,64 hydra.sweeper.margin=-1", "hydra.sweeper.margin=-1: should be greater than or equal to 0"),
        ("batch_size=32,64 hydra.sweeper.effect=0", "hydra.sweeper.effect=0: should be greater than or equal to 0.1"),
        ("batch_size=32,64 hydra.sweeper.seeds=3", "hydra.sweeper.seeds=3: unknown setting; did you mean"),
    ],
)  # fmt: skip
def test_what_cannot_race_is_refused(mistake, arguments, line):
    assert mistake("--multirun", "hydra/sweeper=race", *TINY, *arguments.split()).startswith(line)

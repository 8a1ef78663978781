"""`python run.py --multirun`: a process for each job, one parent run, a table of results."""

from __future__ import annotations

import csv
import io
import runpy
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from conftest import TINY, Done, busy, composed, interrupted, python, sqlite

from cifar.environment import ROOT


@dataclass(frozen=True)
class Sweep:
    process: Done
    uri: str
    parent: mlflow.entities.Run
    children: dict[str, mlflow.entities.Run]

    @property
    def results(self) -> list[dict[str, str]]:
        path = f"{self.parent.info.artifact_uri}/tables/results.csv"
        return list(csv.DictReader(io.StringIO(mlflow.artifacts.load_text(path))))


def recorded(process: Done, folder: Path) -> Sweep:
    """The sweep that `process` left in the store in `folder`."""
    client = mlflow.MlflowClient(sqlite(folder))
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if run is not parent}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} <= {parent.info.run_id}
    return Sweep(process, sqlite(folder), parent, children)


def swept(folder: Path, *overrides: str) -> Sweep:
    arguments = ("--multirun", *TINY, f"tracking.uri={sqlite(folder)}", *overrides)
    return recorded(python(ROOT / "run.py", *arguments, cwd=folder), folder)


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory) -> tuple[Sweep, Sweep]:
    """A sweep that ends well and one with a broken job; at once, since most of either is the loading of libraries."""
    good, bad = tmp_path_factory.mktemp("sweep"), tmp_path_factory.mktemp("broken")
    broken = ("optimizer=sgd", "callbacks=[terminate_on_nan]", "optimizer.lr=1e30,0.01")
    with ThreadPoolExecutor() as pool:
        jobs = pool.submit(swept, good, "optimizer.lr=1e-3,1e-2"), pool.submit(swept, bad, *broken)
        return tuple(job.result() for job in jobs)


@pytest.fixture
def sweep(sweeps) -> Sweep:
    return sweeps[0]


@pytest.fixture
def broken(sweeps) -> Sweep:
    return sweeps[1]


class TestSweep:
    def test_ends_well(self, sweep):
        assert (sweep.process.code, sweep.process.stderr) == (0, "")
        assert sweep.parent.info.status == "FINISHED"

    def test_has_a_child_for_each_job(self, sweep):
        assert {name: run.info.status for name, run in sweep.children.items()} == {
            "optimizer.lr=0.001": "FINISHED",
            "optimizer.lr=0.01": "FINISHED",
        }
        rates = {name: run.data.params["optimizer.lr"] for name, run in sweep.children.items()}
        assert rates == {"optimizer.lr=0.001": "0.001", "optimizer.lr=0.01": "0.01"}

    def test_table_holds_the_results_of_each_job(self, sweep):
        assert [row["job"] for row in sweep.results] == ["optimizer.lr=0.001", "optimizer.lr=0.01"]
        for row in sweep.results:
            child = sweep.children[row["job"]]
            assert (row["run"], row["status"], row["exit_code"]) == (child.info.run_id, "FINISHED", "0")
            assert float(row["test/accuracy"]) == child.data.metrics["test/accuracy"]

    def test_table_is_printed(self, sweep):
        out = sweep.process.stdout
        assert "job 1/2: optimizer.lr=0.001\n" in out
        assert "job 2/2: optimizer.lr=0.01\n" in out
        last = [line.split()[0] for line in out.rstrip().splitlines()[-3:]]
        assert last == ["job", "optimizer.lr=0.001", "optimizer.lr=0.01"]

    def test_job_is_the_run_that_its_command_alone_makes(self, sweep, tmp_path):
        main = runpy.run_path(str(ROOT / "run.py"))["main"]
        main(composed(*TINY, "optimizer.lr=1e-3", f"tracking.uri={sqlite(tmp_path)}"))
        client = mlflow.MlflowClient(sqlite(tmp_path))
        (alone,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
        job = sweep.children["optimizer.lr=0.001"]
        assert alone.data.tags["weights_sha256"] == job.data.tags["weights_sha256"]
        assert alone.data.metrics["test/loss"] == job.data.metrics["test/loss"]


class TestBrokenJob:
    def test_does_not_keep_the_others_from_running(self, broken):
        assert {name: run.info.status for name, run in broken.children.items()} == {
            "optimizer.lr=1e+30": "FAILED",
            "optimizer.lr=0.01": "FINISHED",
        }

    def test_makes_the_sweep_fail_with_one_line(self, broken):
        assert broken.process.code == 1
        assert broken.parent.info.status == "FAILED"
        lines = broken.process.stderr.splitlines()
        assert lines[-1] == "failed: 1 of 2 jobs failed: optimizer.lr=1e+30"
        assert [line.startswith("failed: the loss is ") for line in lines[:-1]] == [True]

    def test_is_in_the_table(self, broken):
        assert [(row["job"], row["status"], row["exit_code"]) for row in broken.results] == [
            ("optimizer.lr=1e+30", "FAILED", "1"),
            ("optimizer.lr=0.01", "FINISHED", "0"),
        ]


def test_signal_ends_the_job_and_the_sweep(tmp_path):
    arguments = ("--multirun", *TINY, "epochs=1000", "seed=1,2", "callbacks=none", f"tracking.uri={sqlite(tmp_path)}")
    seconds, done = interrupted(signal.SIGTERM, *arguments, cwd=tmp_path)
    assert seconds < 10 * busy()
    sweep = recorded(done, tmp_path)
    assert sweep.process.code == 143
    assert sweep.parent.info.status == "KILLED"
    assert {name: run.info.status for name, run in sweep.children.items()} == {"seed=1": "KILLED"}

"""Sweeps as their stores record them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest

from cifar.sweep import jobs
from cifar.sweep.launchers import local
from helpers.processes import Completed
from helpers.runs import sqlite


@dataclass(frozen=True)
class Sweep:
    process: Completed
    uri: str
    parent: mlflow.entities.Run
    children: dict[str, mlflow.entities.Run]

    @property
    def results(self) -> list[dict[str, str]]:
        path = f"{self.parent.info.artifact_uri}/tables/results.csv"
        return list(csv.DictReader(io.StringIO(mlflow.artifacts.load_text(path))))


def recorded_sweep(process: Completed, folder: Path) -> Sweep:
    """The sweep that `process` left in the store in `folder`."""
    client = mlflow.MlflowClient(sqlite(folder))
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    jobs = [run for run in runs if run is not parent]
    children = {run.info.run_name: run for run in jobs}
    assert len(children) == len(jobs), "a job has been run twice"
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} <= {parent.info.run_id}
    return Sweep(process, sqlite(folder), parent, children)


def end_jobs_at_once(monkeypatch: pytest.MonkeyPatch, report: Callable[[jobs.Job], dict[str, Any]]) -> None:
    """Let jobs of sweeps start no process; what `report` returns for a job is what its process would have reported."""

    class Ended(jobs.Process):
        def __init__(self, job: jobs.Job, folder: Path):
            super().__init__(job, folder)
            self.console.write_text("")
            self.reported = report(job)

        def end(self, signum: int) -> None: ...

        def _has_ended(self) -> bool:
            return True

        def _cut_short(self) -> str:
            return ""

        def _code(self) -> int:
            return int(self.reported["status"] == "FAILED")

    monkeypatch.setattr(local.Local, "start", lambda _, job, folder, slot: Ended(job, folder))

"""Sweeps as their stores record them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import mlflow

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

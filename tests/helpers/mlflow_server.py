"""A tracking server of MLflow's, and whether it has all of a sweep."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import mlflow

from helpers.processes import wait_for


class MlflowServer:
    """`mlflow server` at an address, with all it keeps in `folder`.

    `start(*command)` starts a process, where it is to run.
    """

    def __init__(self, folder: Path, address: str, port: int, start: Callable[..., subprocess.Popen]):
        self.uri = f"http://{address}:{port}"
        self._command = (
            sys.executable, "-m", "mlflow", "server", "--host", address, "--port", port, "--workers", 1,
            "--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", folder / "artifacts",
        )  # fmt: skip
        self._start = start

    def start(self) -> None:
        self.process = self._start(*self._command)
        wait_for(self._answers, 300)

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def check_sweep(self, epochs: int, names: set[str]) -> None:
        """The server has one sweep, whose jobs of these names are finished, with all epochs and files."""
        client = mlflow.MlflowClient(self.uri)
        runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
        (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        children = {run.info.run_name: run for run in runs if run is not parent}
        assert len(runs) == len(names) + 1
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert children.keys() == names
        assert {path.path for path in client.list_artifacts(parent.info.run_id, "tables")} >= {"tables/results.csv"}
        for run in children.values():
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "val/loss")]
            assert steps == list(range(1, epochs + 1))
            assert {"test/accuracy", "best/loss"} <= run.data.metrics.keys()
            files = {path.path for path in client.list_artifacts(run.info.run_id)}
            assert {"config.yaml", "model.weights.h5", "console.log", "pictures", "tables"} <= files

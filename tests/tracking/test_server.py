"""A sweep that records on a real `mlflow server`, which is killed and comes back: nothing is lost."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from cifar.runtime.paths import ROOT
from helpers.processes import clean_environment, run_python, wait_for
from helpers.runs import TINY

EPOCHS = 60


class Server:
    """`mlflow server` on the loopback interface, with all it keeps in `folder`."""

    def __init__(self, folder: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri, self._folder = f"http://127.0.0.1:{self.port}", folder

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port),
                   "--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/server.db",
                   "--artifacts-destination", str(self._folder / "artifacts")]  # fmt: skip
        with (self._folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=clean_environment(), stdout=log, stderr=log, start_new_session=True
            )
        wait_for(self._answers, 300)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "server.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def project(tmp_path) -> Path:
    """A copy of the project, which keeps beside its own `run.py` what a server does not take."""
    for part in ("cifar", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / part, tmp_path / "project" / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run.py", tmp_path / "project")
    return tmp_path / "project"


@pytest.mark.slow
def test_server_that_is_away_for_a_while_has_all_in_the_end(server, project):
    command = [sys.executable, "run.py", "--multirun", *TINY, f"epochs={EPOCHS}", "callbacks=none", "seed=1,2,3",
               "evaluate.test=true", "hydra.launcher.n_jobs=2", f"tracking.uri={server.uri}"]  # fmt: skip
    with (project / "sweep.log").open("w") as log:
        sweep = subprocess.Popen(command, cwd=project, env=clean_environment(), stdout=log, stderr=log)
    try:
        wait_for(lambda: sum('"epoch"' in path.read_text() for path in project.rglob("report.jsonl")) == 2, 300)
        server.kill()
        time.sleep(5)
        server.start()
        assert sweep.wait(600) == 0, (project / "sweep.log").read_text()
    finally:
        sweep.kill()
    sent = run_python("-m", "cifar", "sync", cwd=project)
    assert (sent.code, sent.stderr) == (0, "")

    client = mlflow.MlflowClient(server.uri)
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if run is not parent}
    assert len(runs) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert children.keys() == {"seed=1", "seed=2", "seed=3"}
    assert {path.path for path in client.list_artifacts(parent.info.run_id, "tables")} >= {"tables/results.csv"}
    for run in children.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "val/loss")]
        assert steps == list(range(1, EPOCHS + 1))
        assert {"test/accuracy", "best/loss"} <= run.data.metrics.keys()
        files = {path.path for path in client.list_artifacts(run.info.run_id)}
        assert {"config.yaml", "model.weights.h5", "console.log", "pictures", "tables"} <= files

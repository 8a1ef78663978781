"""A sweep that records on a real `mlflow server`, which is killed and comes back: nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cifar.tracking.recorder import PATIENCE
from helpers.mlflow_server import MlflowServer
from helpers.processes import clean_environment, free_port, run_python, wait_for
from helpers.projects import copy_project
from helpers.runs import TINY

EPOCHS = 60


def kill(server: MlflowServer) -> None:
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()


@pytest.fixture
def server(tmp_path) -> Iterator[MlflowServer]:
    def start(*command: object) -> subprocess.Popen:
        with (tmp_path / "server.log").open("a") as log:
            return subprocess.Popen([*map(str, command)], cwd=tmp_path, env=clean_environment(), stdout=log,
                                    stderr=log, start_new_session=True)  # fmt: skip

    server = MlflowServer(tmp_path, "127.0.0.1", free_port(), start)
    try:
        server.start()
        yield server
    finally:
        kill(server)


@pytest.fixture
def project(tmp_path) -> Path:
    """A copy of the project, which keeps beside its own `run.py` what a server does not take."""
    return copy_project(tmp_path / "project")


@pytest.mark.slow
def test_server_that_is_away_for_a_while_has_all_in_the_end(server, project):
    command = [sys.executable, "run.py", "--multirun", *TINY, f"epochs={EPOCHS}", "callbacks=none", "seed=1,2,3",
               "evaluate.test=true", "hydra.launcher.n_jobs=2", f"tracking.uri={server.uri}"]  # fmt: skip
    with (project / "sweep.log").open("w") as log:
        sweep = subprocess.Popen(command, cwd=project, env=clean_environment(), stdout=log, stderr=log)
    try:
        wait_for(lambda: sum('"epoch"' in path.read_text() for path in project.rglob("report.jsonl")) == 2, 300)
        kill(server)
        time.sleep(PATIENCE + 5)
        server.start()
        assert sweep.wait(600) == 0, (project / "sweep.log").read_text()
    finally:
        sweep.kill()
    sent = run_python("-m", "cifar", "sync", cwd=project)
    assert (sent.code, sent.stderr) == (0, "")
    server.check_sweep(EPOCHS, {"seed=1", "seed=2", "seed=3"})

"""Jobs that are forks of a process which has loaded the libraries of a training."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

import cifar
from cifar.runtime.paths import RUN_PROCESS
from cifar.sweep.forkserver import UNKNOWN, Fork, ForkServer
from helpers.processes import clean_environment, wait_for, warm_server
from helpers.runs import TINY, sqlite

CORE = min(os.sched_getaffinity(0))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("sys.executable", str(warm_server().python))
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def start(server, tmp_path):
    """start(*overrides): a process that trains; what it prints is in `tmp_path / "console"`."""

    def start(*overrides: str, inherited=()) -> Fork:
        with (tmp_path / "console").open("wb") as console:
            command = [*RUN_PROCESS, *overrides, f"tracking.uri={sqlite(tmp_path)}"]
            return server.start(command, clean_environment(), {CORE}, console.fileno(), inherited)

    return start


@pytest.fixture
def trains(start, tmp_path) -> Fork:
    """A process in a training that takes long."""
    process = start(*TINY, "epochs=100000", "callbacks=none")
    wait_for(lambda: "epoch" in console(tmp_path))
    return process


def console(folder: Path) -> str:
    return (folder / "console").read_text()


def ended(process: Fork) -> int:
    wait_for(lambda: process.poll() is not None)
    return process.returncode


def test_exit_codes_and_what_is_printed(start, tmp_path):
    assert ended(start("--version")) == 0
    assert console(tmp_path) == f"cifar {cifar.__version__}\n"
    assert ended(start("epocs=3")) == 2
    assert console(tmp_path).startswith("error: epocs=3: unknown setting; did you mean 'epochs'? ")


@pytest.mark.slow
def test_processes_that_end_in_another_order_than_they_began(start, trains):
    assert ended(start("--version")) == 0
    assert trains.poll() is None
    trains.send_signal(signal.SIGINT)
    assert ended(trains) == 130
    killed = start(*TINY, "epochs=100000")
    killed.kill()
    assert ended(killed) == -signal.SIGKILL
    killed.send_signal(signal.SIGINT)


def test_cores_session_and_files_that_are_kept_open(start):
    reader, writer = os.pipe()
    process = start(*TINY, "epochs=100000", inherited=(writer,))
    os.close(writer)
    wait_for(lambda: os.getsid(process.pid) == process.pid)
    wait_for(lambda: os.sched_getaffinity(process.pid) == {CORE})
    assert not select.select([reader], [], [], 0)[0]
    process.kill()
    assert ended(process) == -signal.SIGKILL
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.slow
def test_process_without_its_server_saves_its_state_and_ends(server, trains, tmp_path):
    os.kill(int(Path(f"/proc/{trains.pid}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    assert ended(trains) == UNKNOWN
    assert "interrupted by SIGHUP" in console(tmp_path)
    with pytest.raises(ConnectionError):
        server.start([*RUN_PROCESS, "--version"], {}, [0], 1)

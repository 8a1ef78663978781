"""Processes as a user starts them, in a clean environment, and what they print."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cifar.runtime.paths import ROOT
from helpers.warm import Completed, Server, clean_environment


def run_python(*arguments: object, cwd: Path = ROOT, **variables: str) -> Completed:
    """`python ARGUMENTS…` in a clean environment, until it ends."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env={**clean_environment(), **variables},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return Completed(done.returncode, done.stdout, done.stderr)


@functools.cache
def warm_server() -> Server:
    """The server of `run_warm`, which ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="warm"))
    server = Server(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.close)
    return server


def run_warm(*arguments: object, cwd: Path = ROOT, **variables: str) -> Completed:
    """`python ARGUMENTS…` as `run_python` runs it, without the seconds to load the libraries.

    Not for tests of the start: the loading, its messages, or variables that libraries read when they load.
    """
    return warm_server().run(*arguments, cwd=cwd, timeout=300, **variables)


def run_and_signal(signum: int, *arguments: str, cwd: Path) -> tuple[float, Completed]:
    """`python run.py ARGUMENTS…` that gets a signal after its first epoch, and the seconds from there to its end."""
    process = warm_server().start(ROOT / "run.py", *arguments, cwd=cwd)
    if "--multirun" in arguments:
        wait_for(lambda: any('"epoch"' in path.read_text() for path in cwd.rglob("report.jsonl")))
    else:
        wait_for(lambda: "\nepoch" in process.stdout())
    process.signal(signum)
    sent = time.monotonic()
    completed = process.wait()
    return time.monotonic() - sent, completed


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def slowdown() -> float:
    """How many times longer than alone a process takes on this machine by now, at least 1."""
    return max(1, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


def error_line(done: Completed) -> str:
    """The one line in which a command has refused."""
    assert (done.code, done.stdout) == (2, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


# The process ends itself, as the power would end it, when it flushes a file to the disk for the nth time.
KILLED_WRITING = """
import os, runpy, signal, sys
count, real = int(sys.argv.pop(1)), os.fsync

def fsync(descriptor):
    global count
    count -= 1
    if not count:
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)

os.fsync = fsync
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""

"""Processes as a user starts them, in a clean environment, and what they print."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cifar.runtime.paths import ROOT


@dataclass(frozen=True)
class Completed:
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str


def clean_environment() -> dict[str, str]:
    """The variables of this process but those that change what the commands show, without a GPU."""
    dropped = ("HYDRA_", "MLFLOW_", "PYTHON", "TF_", "KERAS_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "CUDA_VISIBLE_DEVICES": "-1"}


def run_python(*arguments: object, cwd: Path | None = None, **variables: str) -> Completed:
    """`python ARGUMENTS…` in a clean environment, until it ends."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd or ROOT, env={**clean_environment(), **variables},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return Completed(done.returncode, done.stdout, done.stderr)


def run_and_signal(signum: int, *arguments: str, cwd: Path) -> tuple[float, Completed]:
    """`python run.py ARGUMENTS…` that gets a signal after its first epoch, and the seconds from there to its end."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "run.py", *arguments], cwd=cwd, env=clean_environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    if "--multirun" in arguments:
        wait_for(lambda: any('"epoch"' in path.read_text() for path in cwd.rglob("report.jsonl")))
    else:
        next(line for line in process.stdout if line.startswith("epoch"))
    process.send_signal(signum)
    sent = time.monotonic()
    out, err = process.communicate(timeout=120)
    return time.monotonic() - sent, Completed(process.returncode, out, err)


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


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

"""The real YAML composed, the real commands run; every run is recorded under a temporary folder."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from cifar import config
from cifar.config import Settings
from cifar.environment import ROOT

TINY = (
    "data=digits", "data.limit=100", "model.filters=[4]", "model.head.units=[8]", "augmentation=none", "batch_size=30",
    "epochs=1",
)  # fmt: skip
"""Overrides for a run that costs little beside the imports."""


@dataclass(frozen=True)
class Done:
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Recorded:
    """A run, and the process that recorded it in the store at `uri`."""

    process: Done
    uri: str
    id: str


def sqlite(folder: Path) -> str:
    """The URI of the store in `folder`."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def environment() -> dict[str, str]:
    """The variables of this process but those that change what the commands show, without a GPU."""
    dropped = ("HYDRA_", "MLFLOW_", "PYTHON", "TF_", "KERAS_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "CUDA_VISIBLE_DEVICES": "-1"}


def python(*arguments: object, cwd: Path | None = None, **variables: str) -> Done:
    """`python ARGUMENTS…` in a clean environment, until it ends."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd or ROOT, env={**environment(), **variables},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def interrupted(signum: int, *arguments: str, cwd: Path) -> tuple[float, Done]:
    """`python run.py ARGUMENTS…` that gets a signal after its first epoch, and the seconds from there to its end."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "run.py", *arguments], cwd=cwd, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    if "--multirun" in arguments:
        wait_for(lambda: any('"epoch"' in path.read_text() for path in cwd.rglob("report.jsonl")))
    else:
        next(line for line in process.stdout if line.startswith("epoch"))
    process.send_signal(signum)
    sent = time.monotonic()
    out, err = process.communicate(timeout=120)
    return time.monotonic() - sent, Done(process.returncode, out, err)


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def busy() -> float:
    """How many times longer than alone a process takes on this machine by now, at least 1."""
    return max(1, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


def composed(*overrides: str) -> DictConfig:
    """`conf/config.yaml` with `overrides`, as `run.py` gets it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return hydra_compose("config", list(overrides))


@pytest.fixture
def compose(tmp_path) -> Callable[..., Settings]:
    """compose(*overrides): the settings of a run that would be recorded under `tmp_path`."""
    return lambda *overrides: config.resolve(composed(f"tracking.uri={sqlite(tmp_path)}", *overrides))


@pytest.fixture
def in_process(tmp_path, monkeypatch, capfd) -> Callable[..., Done]:
    """in_process(*arguments): `python run.py ARGUMENTS…` from `tmp_path`, without the cost of a process."""

    def run(*arguments: str) -> Done:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        GlobalHydra.instance().clear()
        capfd.readouterr()
        code = 0
        try:
            runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        except SystemExit as end:
            code = end.code
        return Done(code, *capfd.readouterr())

    return run


@pytest.fixture
def mistake(in_process, tmp_path, monkeypatch) -> Callable[..., str]:
    """mistake(*arguments): the line in which `run.py` refuses `arguments`, before TensorFlow loads and a file is made.

    A call that would load TensorFlow, or start a job of a sweep, fails the test.
    """

    def refused(*arguments: str) -> str:
        monkeypatch.setattr("cifar.lazy.load_tensorflow", lambda: pytest.fail("not refused before TensorFlow loads"))
        monkeypatch.setattr("cifar.sweep.jobs.Process", lambda *job: pytest.fail("not refused before a job starts"))
        before = sorted(tmp_path.rglob("*"))
        done = in_process(*arguments)
        assert (done.code, done.stdout) == (2, ""), done
        assert sorted(tmp_path.rglob("*")) == before
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr.strip().removeprefix("error: ")

    return refused


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory) -> Recorded:
    """The recipe of the quickstart, cut to three epochs."""
    store = tmp_path_factory.mktemp("quickstart")
    process = python(ROOT / "run.py", "experiment=quickstart", "epochs=3", f"tracking.uri={sqlite(store)}", cwd=store)
    assert process.code == 0, process.stderr
    return Recorded(process, sqlite(store), process.stdout.split()[1].rstrip(":"))

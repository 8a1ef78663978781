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

import numpy as np
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from cifar import __main__ as commands
from cifar import tracking
from cifar.config.compose import resolve
from cifar.config.settings import Settings
from cifar.interfaces import Evaluation
from cifar.runtime.paths import ROOT
from cifar.training.experiment import Experiment

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


def record(uri: str, name: str, *overrides: str, right: float = 0.8, parent: str | None = None) -> str:
    """The id of a run on digits that is recorded as one that trained and gets this share of the test images right."""
    stated = resolve(composed("data=digits", f"tracking.uri={uri}", *overrides))
    experiment = Experiment.prepare(stated)
    test, classes = experiment.dataset.test, experiment.dataset.class_names
    tracking.connect(uri)
    with tracking.start(stated.tracking.model_copy(update={"name": name, "parent": parent})) as run:
        run.log_settings(stated)
        run.log_dataset(experiment.dataset)
        for epoch in (1, 2, 3):
            run.log_metrics({"train/loss": 1 / epoch, "val/loss": 2 / epoch, "val/accuracy": right * epoch / 3,
                             "images_per_second": 1000.0 * epoch}, step=epoch)  # fmt: skip
        run.log_metrics({"best/epoch": 3, "best/accuracy": right, "model/parameters": 1234, "model/flops": 2.5e6})
        numbers = np.random.default_rng(stated.seed).random(len(test))
        rows = [
            {
                "index": index,
                "label": classes[label],
                "predicted": classes[label if number < right else label - 1],
                "correct": bool(number < right),
                "confidence": 0.9,
                "label_probability": 0.9 if number < right else 0.05,
            }
            for index, (label, number) in enumerate(zip(test.targets["label"], numbers, strict=True))
        ]
        accuracy = float((numbers < right).mean())
        run.log_evaluation(Evaluation({"accuracy": accuracy, "loss": 1 - right}, {"predictions.csv": rows}), "test")
    return run.id


def composed(*overrides: str) -> DictConfig:
    """`conf/config.yaml` with `overrides`, as `run.py` gets it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return hydra_compose("config", list(overrides))


@pytest.fixture
def compose(tmp_path) -> Callable[..., Settings]:
    """compose(*overrides): the settings of a run that would be recorded under `tmp_path`."""
    return lambda *overrides: resolve(composed(f"tracking.uri={sqlite(tmp_path)}", *overrides))


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
        monkeypatch.setattr(
            "cifar.runtime.lazy.load_tensorflow", lambda _: pytest.fail("not refused before TensorFlow loads")
        )
        monkeypatch.setattr("cifar.sweep.jobs.Options.start", lambda *_: pytest.fail("not refused before a job starts"))
        before = sorted(tmp_path.rglob("*"))
        done = in_process(*arguments)
        assert (done.code, done.stdout) == (2, ""), done
        assert sorted(tmp_path.rglob("*")) == before
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr.strip().removeprefix("error: ")

    return refused


@pytest.fixture
def command(monkeypatch, capfd) -> Callable[..., Done]:
    """command(uri, *arguments): `python -m cifar ARGUMENTS…` on the store at `uri`, without the cost of a process."""

    def run(uri: str, *arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["cifar", "--tracking-uri", uri, *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            commands.main()
        except SystemExit as end:
            code = end.code
        return Done(code, *capfd.readouterr())

    return run


@pytest.fixture
def undisturbed_and_resumed(monkeypatch):
    """undisturbed_and_resumed(experiment, place): two runs, each as its id and the SHA-256 of its weights in the end.

    The second is interrupted right after its state at `place` (epoch, step) is saved, and resumed.
    """
    from cifar.training import trainer
    from cifar.training.loop import Loop

    def run(experiment: Experiment, place: tuple[int, int]) -> list[tuple[str, str]]:
        tracking.connect(experiment.settings.tracking.uri)
        started, save = [], Loop.save

        def fit(run_id: str | None = None) -> tuple[str, str]:
            model = experiment.compiled_model()
            with tracking.start(experiment.settings.tracking, run_id and tracking.locked(run_id)) as run:
                started.append(run.id)
                return run.id, trainer.weights_sha256(trainer.fit(experiment, model, run))

        def save_and_interrupt(loop):
            save(loop)
            if (loop.epoch, loop.step) == place:
                raise KeyboardInterrupt

        undisturbed = fit()
        with monkeypatch.context() as patch:
            patch.setattr(Loop, "save", save_and_interrupt)
            with pytest.raises(KeyboardInterrupt):
                fit()
        return [undisturbed, fit(started[-1])]

    return run


def refused(done: Done) -> str:
    """The one line in which a command has refused."""
    assert (done.code, done.stdout) == (2, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory) -> Recorded:
    """The recipe of the quickstart, cut to three epochs."""
    store = tmp_path_factory.mktemp("quickstart")
    process = python(ROOT / "run.py", "experiment=quickstart", "epochs=3", f"tracking.uri={sqlite(store)}", cwd=store)
    assert process.code == 0, process.stderr
    return Recorded(process, sqlite(store), process.stdout.split()[1].rstrip(":"))

"""Fixtures: the real YAML composed, the real commands run; every run is recorded under a temporary folder."""

from __future__ import annotations

import gc
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra

from cifar import __main__ as commands
from cifar import tracking
from cifar.config.compose import resolve
from cifar.config.settings import Settings
from cifar.runtime import interrupts
from cifar.runtime.errors import Interrupted
from cifar.runtime.lazy import load_tensorflow
from cifar.runtime.paths import ROOT
from cifar.training.experiment import Experiment
from helpers import drawing, stores
from helpers.postgresql import Postgresql
from helpers.processes import Completed, free_port, run_warm
from helpers.runs import Recorded, composed, sqlite

# A shell starts what runs in its background with SIGINT ignored, and all processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# To look through all that the libraries have made for garbage takes a tenth of the tests' time.
gc.set_threshold(50_000, 20, 50)
stores.replace_migrations()
drawing.leave_out()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-golden", action="store_true", help="rewrite tests/training/golden.json")


LONG = (
    "test_lifecycle.py", "test_failing_writes.py",
    "models/test_models.py", "training/test_experiment.py", "training/test_transfer.py", "sweep/test_sweep_records.py",
    "search/test_search.py", "test_run.py", "sweep/test_sweep.py", "training/test_resume.py", "config/test_mistakes.py",
    "tasks/test_segmentation.py", "export/test_export.py", "tasks/test_detection.py", "training/test_exactness.py",
)  # fmt: skip
"""The files that take longest, so that they come first and all workers end at the same time."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        order = {ROOT / "tests" / name: number for number, name in enumerate(LONG)}
        items.sort(key=lambda item: order.get(item.path, len(LONG)))


@pytest.fixture(scope="session", autouse=True)
def cache_of_downloads_and_photos(tmp_path_factory) -> None:
    """Keep the decoded photos of tests out of the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def compose(tmp_path) -> Callable[..., Settings]:
    """compose(*overrides): the settings of a run that would be recorded under `tmp_path`."""
    return lambda *overrides: resolve(composed(f"tracking.uri={sqlite(tmp_path)}", *overrides))


@pytest.fixture
def in_process(tmp_path, monkeypatch, capfd) -> Callable[..., Completed]:
    """in_process(*arguments): `python run.py ARGUMENTS…` from `tmp_path`, without the cost of a process."""

    compose_for_mode = Hydra.get_mode

    def mode(hydra: Hydra, config_name: str | None, overrides: list[str], **more: object) -> object:
        """Hydra composes all settings twice, first for `hydra.mode` alone, which only recipes set."""
        recipes = ("sweep=", "experiment=", "hydra")
        is_set = any(override.lstrip("+").startswith(recipes) for override in overrides)
        return compose_for_mode(hydra, config_name, overrides, **more) if is_set else None

    monkeypatch.setattr(Hydra, "get_mode", mode)

    def run(*arguments: str) -> Completed:
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
        return Completed(code, *capfd.readouterr())

    return run


def _not_refused(backend: str = "", with_wrappers: bool = False) -> None:
    import pytest

    pytest.fail("not refused before TensorFlow loads")


@pytest.fixture
def mistake(in_process, tmp_path, monkeypatch) -> Callable[..., str]:
    """mistake(*arguments): the line in which `run.py` refuses `arguments`, before TensorFlow loads and a file is made.

    A call that would load TensorFlow, or start a job of a sweep, fails the test.
    """

    def refused(*arguments: str) -> str:
        # Its code, not its name: a module that is first imported here would keep another function for good.
        monkeypatch.setattr(load_tensorflow, "__code__", _not_refused.__code__)
        monkeypatch.setattr(
            "cifar.sweep.launchers.local.Local.start", lambda *_: pytest.fail("not refused before a job starts")
        )
        before = sorted(tmp_path.rglob("*"))
        done = in_process(*arguments)
        assert (done.code, done.stdout) == (2, ""), done
        assert sorted(tmp_path.rglob("*")) == before
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr.strip().removeprefix("error: ")

    return refused


@pytest.fixture
def command(monkeypatch, capfd) -> Callable[..., Completed]:
    """command(uri, *arguments): `python -m cifar ARGUMENTS…` on the store at `uri`, without the cost of a process."""

    def run(uri: str, *arguments: object) -> Completed:
        monkeypatch.setattr(sys, "argv", ["cifar", "--tracking-uri", uri, *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            commands.main()
        except SystemExit as end:
            code = end.code
        return Completed(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="class")
def eager() -> Iterator[None]:
    """TensorFlow without graphs: to trace those of a small training takes longer than to run it."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def undisturbed_and_resumed():
    """undisturbed_and_resumed(experiment, place): two runs, each as its id and the SHA-256 of its weights in the end.

    The second gets a signal at `place` (epoch from 0, step from 1), within an epoch, and is resumed.
    """
    from cifar.training import trainer
    from helpers.interrupting import InterruptedExperiment

    started = []

    def fit(experiment: Experiment, run_id: str | None = None) -> tuple[str, str]:
        model = experiment.compiled_model()
        started_run = tracking.start(experiment.settings.tracking, run_id and tracking.locked(run_id))
        with interrupts.handled(), started_run as run:
            started.append(run.id)
            trained = trainer.fit(experiment, model, run, resumed=run_id is not None)
            return run.id, trainer.weights_sha256(trained)

    def run(experiment: Experiment, place: tuple[int, int]) -> list[tuple[str, str]]:
        tracking.connect(experiment.settings.tracking.uri)
        undisturbed = fit(experiment)
        interrupted = InterruptedExperiment(experiment.settings, experiment.dataset, experiment.task, place)
        with pytest.raises(Interrupted) as end:
            fit(interrupted)
        assert end.value.signum == signal.SIGINT
        return [undisturbed, fit(experiment, started[-1])]

    return run


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory) -> Recorded:
    """The recipe of the quickstart, cut to three epochs."""
    store = tmp_path_factory.mktemp("quickstart")
    process = run_warm(
        ROOT / "run.py", "experiment=quickstart", "epochs=3", f"tracking.uri={sqlite(store)}", cwd=store, DRAWS="1"
    )
    assert process.code == 0, process.stderr
    return Recorded(process, sqlite(store), process.stdout.split()[1].rstrip(":"))


@pytest.fixture
def postgresql() -> Iterator[Postgresql]:
    """A server of PostgreSQL on this machine."""
    if why := Postgresql.reason_against():
        pytest.skip(why)

    def start(*command: object) -> subprocess.Popen:
        return subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    with tempfile.TemporaryDirectory() as folder:
        server = Postgresql(Path(folder), "127.0.0.1", free_port(), start)
        yield server
        server.stop()

"""What may happen to a project over the weeks, in any order: nothing is lost, and nothing is recorded wrong.

A state machine works in a copy of the project on a folder of small pictures: it trains, sweeps, kills by each signal
at any write, resumes, deletes runs and experiments in MLflow, renames the folder, edits `conf/`, adds and removes
pictures, evaluates, predicts, compares. After each step:

- no file is gone but what the program may delete: partial files, working files of runs that are finished, older states;
- the user's files, and the artifacts of finished runs, are as they were; a refused command has made nothing;
- each run in the store has the settings that were asked for and the metrics, epoch by epoch, of a training of these
  settings on these pictures that nothing disturbed; where it is finished, its weights are those to the bit;
- each process has ended with 0, 1, 2, 3, 130 or 143 and at most three lines on stderr, none of them of a traceback.

Most processes come from `warm.py`; some are cold. A process is killed at its n-th write, which `preload.c` counts, so
that the same steps do the same. Steps are drawn without chance from outside: a failing test fails again, and the steps
that led there are in its output.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import mlflow
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from helpers.processes import run_python, wait_for
from helpers.projects import SETTINGS, Recorded, World, add_pictures, begun, draw_pictures, recorded, save
from helpers.warm import NAME, Completed, Watch

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("gcc"), reason="preload.c needs gcc")]

EXAMPLES, STEPS = 9, 20
NAMES = ("project", "what? [1]{2} 100% ü", "100%25", "a=b, (c) ~d", "$HOME #1 & co")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {0, 1, 2, 3, 130, 143}
SWEEP = ("-m", "evaluate.test=true")
"""A sweep whose jobs record what single runs do."""
RATES = ("0.006", "0.002")
MAY_GO = re.compile(r"mlflow\.db[.-].*|.*[./-]partial.*|.*__pycache__.*|\.git(/.*)?|mlruns/\.claims(/.*)?")

moments = st.one_of(st.integers(1, 60), st.integers(60, 900))
picks = st.integers(0, 11)


class Asked(NamedTuple):
    """What a run was asked to be: its seed, its learning rate, how many extra pictures there were."""

    seed: int
    rate: str
    extra: int


class Project(RuleBasedStateMachine):
    """A project folder, what was done in it, and what must be true of it."""

    world: World
    steps = processes = 0
    failure: Exception | None = None

    @initialize()
    def begin(self):
        if self.failure:  # Hypothesis begins anew, to tell what it has found
            raise self.failure
        self.root = Path(tempfile.mkdtemp(dir=self.world.folder))
        self.home, self.data = self.root / NAMES[0], self.root / "data"
        self.world.copy(self.home)
        # MLflow's client cannot be given every path.
        (self.root / "link").symlink_to(self.home.name)
        draw_pictures(self.data)
        save(self.root / "photo.png", np.random.default_rng(9), 100)
        self.extra, self.rate = 0, RATES[0]
        self.asked: dict[str, Asked] = {}
        self.swept: dict[tuple[str, int], set[str]] = {}
        self.is_deleted = self.is_step = False
        self.mine = ["notes.txt", "results/thesis.txt", "cifar/notes.txt", "comparison.txt", "multirun/kept.txt"]
        for name in self.mine:
            (self.home / name).parent.mkdir(exist_ok=True)
            (self.home / name).write_text(name)
        self.store: dict[str, Recorded] = {}
        self.files = self.all_files()
        self.user_files = self.contents()
        print("\nexample", self.root)

    # Steps.

    @rule(seed=st.sampled_from((1, 2)), is_cold=st.sampled_from((False, False, False, True)))
    def train(self, seed, is_cold):
        ended = self.python(self.home / "run.py", *self.settings(), f"seed={seed}", is_cold=is_cold)
        self.expect(ended, {2} if self.is_deleted else {0})
        if ended.code == 0:
            self.ask(ended, seed)

    @rule(seed=st.sampled_from((1, 2)), signum=st.sampled_from(SIGNALS), moment=moments)
    def kill(self, seed, signum, moment):
        ended = self.python(self.home / "run.py", *self.settings(), f"seed={seed}", kill=(signum, moment))
        self.expect(ended, {0, 2, 128 + signum} if self.is_deleted else {0, 128 + signum})
        self.ask(ended, seed)

    @rule(seed=st.sampled_from((1, 2)))
    def resume_automatically(self, seed):
        ended = self.python(self.home / "run.py", *self.settings(), f"seed={seed}", "resume=auto")
        self.expect(ended, {0, 2} if self.is_deleted or self.extra else {0})
        self.ask(ended, seed)

    @rule(seed=st.sampled_from((1, 2)), signum=st.sampled_from(SIGNALS), moment=moments)
    def resume_and_kill(self, seed, signum, moment):
        ended = self.python(self.home / "run.py", *self.settings(), f"seed={seed}", "resume=auto",
                            kill=(signum, moment))  # fmt: skip
        self.expect(ended, {0, 2, 128 + signum} if self.is_deleted or self.extra else {0, 128 + signum})
        self.ask(ended, seed)

    @precondition(lambda self: self.known())
    @rule(pick=picks)
    def resume(self, pick):
        run = self.picked(pick)
        ended = self.python(self.home / "run.py", f"resume={run}")
        if self.store[run].status == "FINISHED" or not self.can_resume(run):
            self.expect(ended, {2})
        else:
            self.expect(ended, {0})
            assert self.now()[run].status == "FINISHED"

    @precondition(lambda self: self.known("KILLED", "RUNNING"))
    @rule(pick=picks)
    def resume_twice_at_once(self, pick):
        run = self.picked(pick, "KILLED", "RUNNING")
        self.is_step = True
        both = [self.world.server.start(self.home / "run.py", f"resume={run}", cwd=self.home) for _ in range(2)]
        codes = []
        for process in both:
            ended = process.wait()
            self.tell(["resume twice", run], ended)
            codes.append(ended.code)
            self.one_line(ended)
        assert sorted(codes) == ([0, 2] if self.can_resume(run) else [2, 2])

    @precondition(lambda self: self.known())
    @rule(pick=picks)
    def delete_run(self, pick):
        run = self.picked(pick)
        print("delete", run)
        self.client().delete_run(run)
        self.asked.pop(run)
        self.expect(self.python(self.home / "run.py", f"resume={run}"), {2})
        self.expect(self.python("-m", "cifar", "evaluate", run), {2})

    @precondition(lambda self: not self.is_deleted and self.client_experiment())
    @rule()
    def delete_experiment(self):
        print("delete the experiment")
        self.client().delete_experiment(self.client_experiment())
        self.is_deleted = True

    @precondition(lambda self: self.is_deleted)
    @rule()
    def restore_experiment(self):
        print("restore the experiment")
        self.client().restore_experiment(self.client_experiment())
        self.is_deleted = False

    @rule(name=st.sampled_from(NAMES))
    def rename(self, name):
        print("rename", name)
        self.home = self.home.rename(self.root / name)
        (self.root / "link").unlink()
        (self.root / "link").symlink_to(name)

    @rule()
    def edit_conf(self):
        path = self.home / "conf" / "optimizer" / "adam.yaml"
        other = RATES[1 - RATES.index(self.rate)]
        path.write_text(re.sub("(?m)^lr: .*$", f"lr: {other}", path.read_text()))
        self.rate = other
        print("edit", other)

    @rule()
    def change_pictures(self):
        self.extra = 1 - self.extra
        for path in (self.data / "train" / "cats").glob("extra*"):
            path.unlink()
        add_pictures(self.data, self.extra)
        print("pictures", self.extra)

    @rule(times=st.sampled_from((1, 2)))
    def sweep(self, times):
        for _ in range(times):
            before, key = set(self.now()), (self.rate, self.extra)
            ended = self.python(self.home / "run.py", *SWEEP, *self.settings(), "seed=1,2")
            self.expect(ended, {2} if self.is_deleted else {0})
            if ended.code:
                return
            if self.swept.get(key, {""}) <= before:
                assert set(self.now()) == before, "a finished sweep trains its jobs again"
            sweep = begun(ended)
            done = {run.id for run in self.now().values()
                    if run.tags.get("mlflow.parentRunId") == sweep and run.status == "FINISHED"}  # fmt: skip
            assert len(done) == 2, f"{len(done)} jobs finished"
            self.swept[key] = {sweep, *done}

    @rule(signum=st.sampled_from(SIGNALS[1:]), moment=st.integers(1, 200))
    def kill_sweep(self, signum, moment):
        ended = self.python(self.home / "run.py", *SWEEP, *self.settings(), "seed=1,2", kill=(signum, moment))
        self.expect(ended, {0, 128 + signum} if not self.is_deleted else {2, 128 + signum})

    @precondition(lambda self: self.known("FINISHED"))
    @rule(pick=picks)
    def evaluate(self, pick):
        run = self.picked(pick, "FINISHED")
        ended = self.python("-m", "cifar", "evaluate", run)
        if self.asked[run].extra != self.extra or self.is_deleted:
            self.expect(ended, {0, 2})
            return
        self.expect(ended, {0})
        accuracy = self.store[run].metrics["test/accuracy", 0]
        assert f"test/accuracy {accuracy:.4f}" in ended.stdout

    @precondition(lambda self: self.known("FINISHED"))
    @rule(pick=picks)
    def predict(self, pick):
        run = self.picked(pick, "FINISHED")
        ended = self.python("-m", "cifar", "predict", run, self.root / "photo.png")
        self.expect(ended, {0, 2} if self.asked[run].extra != self.extra or self.is_deleted else {0})
        if ended.code == 0:
            assert json.loads(ended.stdout)["answer"]

    @precondition(lambda self: len(self.known("FINISHED")) > 1)
    @rule(pick=picks)
    def compare(self, pick):
        two = self.picked(pick, "FINISHED"), self.picked(pick + 1, "FINISHED")
        ended = self.python("-m", "cifar", "compare", *two, "--html", self.root / "page.html")
        self.expect(ended, {0, 2} if self.is_deleted else {0})

    @rule(is_cold=st.booleans())
    def list_runs(self, is_cold):
        ended = self.python("-m", "cifar", "runs", "--limit", "1000", is_cold=is_cold)
        self.expect(ended, {0} if (self.home / "mlflow.db").exists() else {0, 2})
        if not self.is_deleted:
            assert all(run[:8] in ended.stdout for run in self.now())

    # What must be true after each.

    @invariant()
    def nothing_is_lost(self):
        now, files = self.now(), self.all_files()
        for path in self.files.keys() - files.keys():
            assert self.may_go(path, now), f"{path} is lost"
        for path, stamp in self.files.items():
            run = re.match("mlruns/([0-9a-f]{32})/artifacts/", path)
            stored = self.store.get(run[1]) if run else None
            # A sweep that is run again writes its tables and pictures again.
            if stored and stored.status == "FINISHED" and not stored.is_sweep:
                assert files[path] == stamp, f"{path} is changed"
        for run in {path.split("/")[1] for path in self.files if is_state(path)} & now.keys():
            assert now[run].status == "FINISHED" or any(is_state(path, run) for path in files), f"no state of {run}"
        assert self.contents() == self.user_files

    @invariant()
    def records_are_true(self):
        now = self.now()
        for run in now.values():
            if run.is_sweep or "seed" not in run.params:
                continue
            seed, rate = int(run.params["seed"]), run.params["optimizer.lr"]
            if not run.fingerprint:
                assert not run.metrics
                continue
            extra = [extra for extra in (0, 1) if self.world.truth(seed, rate, extra).fingerprint == run.fingerprint]
            assert extra, f"run {run.id} has the fingerprint of no pictures that there were"
            if asked := self.asked.get(run.id):
                assert Asked(seed, rate, *extra) == asked, f"run {run.id} is recorded as another"
            truth = self.world.truth(seed, rate, *extra)
            assert run.begins_like(truth), f"run {run.id}: {sorted(run.metrics.items() - truth.metrics.items())}"
            if run.status == "FINISHED":
                assert (run.metrics, run.weights) == (truth.metrics, truth.weights), f"run {run.id}"
        self.store, self.files = now, self.all_files()
        Project.steps += self.is_step
        self.is_step = False

    # Helpers.

    def settings(self) -> tuple[str, ...]:
        return (*SETTINGS, f"data.path='{self.data}'")

    def python(self, *arguments, is_cold: bool = False, kill: tuple[int, int] | None = None) -> Completed:
        """A process in the project; negative codes as a shell tells them."""
        start, before, self.is_step = time.monotonic(), self.all_files().keys(), True
        if is_cold:
            ended = run_python(*arguments, cwd=self.home)
        else:
            log = str(self.root / "writes.log")
            watch = Watch(str(self.home), log, at=kill[1], signum=kill[0]) if kill else None
            ended = self.world.server.run(*arguments, cwd=self.home, watch=watch, timeout=300)
        ended = dataclasses.replace(ended, code=ended.code if ended.code >= 0 else 128 - ended.code)
        self.tell([*arguments, kill or "", f"{time.monotonic() - start:.1f} s"], ended)
        if ended.code == 2:
            made = {path for path in self.all_files().keys() - before if not MAY_GO.fullmatch(path)}
            assert made <= {"mlflow.db"}, f"refused, but {sorted(made)} made"
        return ended

    def tell(self, what, ended: Completed) -> None:
        Project.processes += 1
        told = [str(part) for part in what if str(part) not in SETTINGS]
        print(*told, "->", ended.code, *ended.stderr.splitlines()[:4], flush=True)

    def can_resume(self, run: str) -> bool:
        """False where its data or its experiment are not there, or where it was ended before its settings were kept."""
        has_settings = (self.home / "mlruns" / run / "artifacts" / "config.yaml").exists()
        return has_settings and self.asked[run].extra == self.extra and not self.is_deleted

    def expect(self, ended: Completed, codes: set[int]) -> None:
        self.one_line(ended)
        assert ended.code in codes, ended

    def one_line(self, ended: Completed) -> None:
        assert ended.code in CODES | {128 + signal.SIGKILL}, ended
        assert len(ended.stderr.splitlines()) <= 3 and "Traceback" not in ended.stdout + ended.stderr, ended
        # A signal before the handlers are there ends a process without a word.
        assert ended.code in (0, 137, 143) or ended.stderr, ended

    def ask(self, ended: Completed, seed: int) -> None:
        """Remember what the run that a process has named was asked to be; a resumed one stays what it is."""
        if run := begun(ended):
            self.asked.setdefault(run, Asked(seed, self.rate, self.extra))
            assert self.asked[run] == Asked(seed, self.rate, self.extra), f"resumed {run}, which is another"
            if ended.code == 0:
                assert self.now()[run].status == "FINISHED"

    def known(self, *statuses: str) -> list[str]:
        """The runs, of these statuses if any are named, whose settings the test has asked for, the oldest first."""
        return [run for run in self.asked
                if run in self.store and (not statuses or self.store[run].status in statuses)]  # fmt: skip

    def picked(self, pick: int, *statuses: str) -> str:
        """One of the known runs."""
        found = self.known(*statuses)
        return found[pick % len(found)]

    def now(self) -> dict[str, Recorded]:
        return recorded(self.home)

    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(f"sqlite:///{self.root / 'link' / 'mlflow.db'}")

    def client_experiment(self) -> str:
        if not (self.home / "mlflow.db").exists():
            return ""
        connection = sqlite3.connect(self.home / "mlflow.db")
        try:
            found = connection.execute("SELECT experiment_id FROM experiments WHERE name = 'data'").fetchone()
        finally:
            connection.close()
        return str(found[0]) if found else ""

    def all_files(self) -> dict[str, tuple[int, int]]:
        """Size and time of all files in the project."""
        return snapshot(self.home)

    def contents(self) -> dict[str, str]:
        return {name: (self.home / name).read_text() for name in self.mine}

    def may_go(self, path: str, now: dict[str, Recorded]) -> bool:
        """Whether the program may delete this."""
        if working := re.match("mlruns/([0-9a-f]{32})(/work(/.*)?)?$", path):
            run = now.get(working[1])
            return run is None or run.status == "FINISHED" or is_state(path) or "/state/" in path
        return bool(MAY_GO.fullmatch(path))

    def teardown(self):
        if isinstance(error := sys.exc_info()[1], Exception):
            Project.failure = error
        if hasattr(self, "root"):
            shutil.rmtree(self.root, ignore_errors=True)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of all files in `folder`, by their paths in it; zeros for a folder."""
    found = {}
    for path in folder.rglob("*"):
        stat = path.lstat()
        found[str(path.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns) if path.is_file() else (0, 0)
    return found


def is_state(path: str, run: str = "[0-9a-f]{32}") -> bool:
    """Whether this is the manifest of a run's state."""
    return bool(re.fullmatch(rf"mlruns/{run}/work/state/[0-9-]+\.json", path))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    with pytest.MonkeyPatch.context() as patch:
        # SQLite refuses to write through a connection that was opened before the file moved: keep none.
        patch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
        yield world
    world.server.close()


def test_nothing_is_lost_and_nothing_recorded_wrong(world):
    Project.world, start = world, time.monotonic()
    try:
        run_state_machine_as_test(Project, settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, derandomize=True, database=None, deadline=None,
            phases=[Phase.generate], report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
        ))  # fmt: skip
    except Exception as error:
        raise (Project.failure or error) from None
    finally:
        print(f"{Project.steps} steps, {Project.processes} processes, {time.monotonic() - start:.0f} s")
    assert Project.steps >= 100


@pytest.mark.parametrize("moment", [60, 113, 3000])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_the_store_is_made(world, tmp_path, signum, moment):
    home, data = tmp_path / "project", tmp_path / "data"
    world.copy(home)
    draw_pictures(data)
    watch = Watch(str(home), str(tmp_path / "log"), part="mlflow.db", at=moment, signum=signum)
    run = home / "run.py", *SETTINGS, f"data.path='{data}'"
    ended = world.server.run(*run, cwd=home, watch=watch)
    assert (ended.code, ended.stdout) == (128 + signum, "") and len(ended.stderr.splitlines()) == 1, ended
    assert world.server.run(*run, cwd=home).code == 0


def test_copy_of_a_project_under_another_name_is_used_throughout(world, tmp_path):
    """It trains, resumes, sweeps, evaluates, predicts, compares, exports and serves, and leaves the original alone."""
    original, copy, data = tmp_path / "project", tmp_path / "copies" / NAMES[1], tmp_path / "data"
    world.copy(original)
    draw_pictures(data)
    save(tmp_path / "photo.png", np.random.default_rng(9), 100)
    settings = (*SETTINGS, f"data.path='{data}'")

    def run(home: Path, *arguments, watch: Watch | None = None, code: int = 0) -> Completed:
        ended = world.server.run(*arguments, cwd=home, watch=watch, timeout=300)
        assert ended.code == code and (code or not ended.stderr), ended
        return ended

    finished = begun(run(original, original / "run.py", *settings, "seed=1"))
    watch = Watch(str(original), str(tmp_path / "log"), NAME, "state/000001", 1, signum=signal.SIGTERM)
    killed = begun(run(original, original / "run.py", *settings, "seed=2", watch=watch, code=143))
    shutil.copytree(original, copy)
    before = snapshot(original)

    run(copy, copy / "run.py", f"resume={killed}")
    trained = begun(run(copy, copy / "run.py", *settings, "seed=1"))
    sweep = run(copy, copy / "run.py", "-m", *settings, "seed=1,2")
    assert "FINISHED seed=1" in sweep.stdout and "FINISHED seed=2" in sweep.stdout
    found = recorded(copy)
    for name, seed in ((finished, 1), (trained, 1), (killed, 2)):
        truth = world.truth(seed, RATES[0], 0)
        assert (found[name].status, found[name].metrics) == ("FINISHED", truth.metrics)
        assert found[name].weights == truth.weights
    assert f"test/accuracy {found[finished].metrics['test/accuracy', 0]:.4f}" in run(
        copy, "-m", "cifar", "evaluate", finished).stdout  # fmt: skip
    assert json.loads(run(copy, "-m", "cifar", "predict", finished, tmp_path / "photo.png").stdout)["answer"]
    run(copy, "-m", "cifar", "compare", finished, killed, "--html", copy / "page.html")
    assert (copy / "page.html").exists()
    run(copy, "-m", "cifar", "export", finished, copy / "exports", "--format", "keras")
    assert (copy / "exports" / "1").is_dir()
    listed = run(copy, "-m", "cifar", "runs").stdout
    assert all(name[:8] in listed for name in found)
    service = world.server.start("-m", "cifar", "serve", finished, "--port", "0", cwd=copy)
    wait_for(lambda: "serving at" in service.stdout())
    port = int(re.search(r"serving at \S+:(\d+)", service.stdout())[1])
    body = (tmp_path / "photo.png").read_bytes()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
    service.signal(signal.SIGINT)
    assert service.wait().code in (0, 130)

    assert snapshot(original) == before
    assert {path.name for path in copy.parent.iterdir()} == {copy.name}

"""Each write of a run fails in turn, as on a disk that is full, read-only or broken.

A short run is interrupted and resumed. `preload.c` lets one call of the resumed run fail that writes, makes, renames,
deletes or flushes a file of the store's folder, from Python or from C, once or from there on. The process ends in one
line, the store stays whole, and the runs in it are kept: once the fault is gone, the run is resumed, and ends as one
that nothing disturbed, to the bit. Of the calls, some of each kind on each kind of file are taken, by a fixed seed.
"""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from cifar.runtime.paths import ROOT
from helpers.warm import ANY, CREATE, FLUSH, NAME, OPEN, WRITE, Completed, Server, Watch

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("gcc"), reason="preload.c needs gcc")]

SETTINGS = ("data=digits", "data.limit=60", "model.filters=[4]", "model.classifier.units=[]", "augmentation=none",
            "batch_size=25", "epochs=3", "schedule=constant", "callbacks=[checkpoint,csv_logger]")  # fmt: skip
SAMPLES, SEED = 36, 0

KINDS = {"create": CREATE, "mkdir": CREATE, "mkdirat": CREATE, "link": CREATE, "open": OPEN, "rename": NAME,
         "unlink": NAME, "unlinkat": NAME, "rmdir": NAME, "fsync": FLUSH, "fdatasync": FLUSH}  # fmt: skip
"""The kind of each call that `preload.c` counts; of all others, WRITE."""


@dataclass(frozen=True)
class Fault:
    """How calls of some `kinds` fail: one of them, or with `lasting` all from there on."""

    error: int
    kinds: int
    lasting: bool


FAULTS = {
    "full disk": Fault(errno.ENOSPC, WRITE | CREATE, lasting=True),
    "read-only file system": Fault(errno.EROFS, ANY & ~FLUSH, lasting=True),
    "no permission": Fault(errno.EACCES, CREATE | OPEN | NAME, lasting=True),
    "one I/O error": Fault(errno.EIO, ANY, lasting=False),
    "broken disk": Fault(errno.EIO, ANY, lasting=True),
}


@dataclass(frozen=True)
class Store:
    """The folder of a store."""

    folder: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def rows(self, query: str) -> list[tuple]:
        connection = sqlite3.connect(self.folder / "mlflow.db")  # may roll a transaction back that was cut short
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def trained(self, run_id: str) -> tuple:
        """Status, SHA-256 of the weights, and the metrics of each epoch."""
        ((status,),) = self.rows(f"SELECT status FROM runs WHERE run_uuid = '{run_id}'")
        weights = self.rows(f"SELECT value FROM tags WHERE run_uuid = '{run_id}' AND key = 'weights_sha256'")
        history = self.rows(f"SELECT key, step, value FROM metrics WHERE run_uuid = '{run_id}' AND step > 0 AND "
                            "key != 'images_per_second' ORDER BY key, step")  # fmt: skip
        return status, weights, history

    def files(self, run_id: str) -> dict[str, bytes]:
        """The artifacts of a run."""
        folder = self.folder / "mlruns" / run_id / "artifacts"
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Prepared:
    """A store with a finished run, an interrupted one, and the calls that the latter makes when it is resumed."""

    store: Store
    finished: str
    interrupted: str
    calls: list[str]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("warm"), watches_writes=True)
    yield server
    server.close()


def train(server: Server, store: Store, *overrides: str, watch: Watch | None = None) -> Completed:
    uri = f"tracking.uri={store.uri}"
    return server.run(ROOT / "run.py", *SETTINGS, *overrides, uri, cwd=store.folder, watch=watch)


def run_id(ended: Completed) -> str:
    return ended.stdout.split()[1].rstrip(":")


@pytest.fixture(scope="module")
def prepared(server, tmp_path_factory) -> Prepared:
    store = Store(tmp_path_factory.mktemp("store"))
    logs = tmp_path_factory.mktemp("logs")
    finished = train(server, store)
    assert (finished.code, finished.stderr) == (0, "")
    first_state = Watch(str(store.folder), str(logs / "interrupted"), NAME, "state/000001", 1, signum=signal.SIGTERM)
    interrupted = train(server, store, watch=first_state)
    assert interrupted.code == 143 and interrupted.stderr.startswith("interrupted by SIGTERM"), interrupted
    copied = copy(store, tmp_path_factory.mktemp("copied") / "store")
    watch = Watch(str(copied.folder), str(logs / "resumed"))
    resumed = train(server, copied, f"resume={run_id(interrupted)}", watch=watch)
    assert (resumed.code, resumed.stderr) == (0, "")
    assert copied.trained(run_id(interrupted)) == store.trained(run_id(finished))
    return Prepared(store, run_id(finished), run_id(interrupted), calls_of(logs / "resumed"))


def calls_of(log: Path) -> list[str]:
    """The calls that a process made, run ids replaced by ID."""
    return re.sub("[0-9a-f]{32}", "ID", log.read_text()).splitlines()


def copy(store: Store, folder: Path) -> Store:
    shutil.copytree(store.folder, folder)
    return Store(folder)


def kind(call: str) -> int:
    return KINDS.get(call.split()[0], WRITE)


def samples(calls: list[str]) -> list[tuple[str, int]]:
    """Some faults, each with the place in `calls`, from 0, where it sets in: of each kind of call and file by turns."""
    dice = random.Random(SEED)
    groups: dict[tuple[int, str], list[int]] = {}
    for place, call in enumerate(calls):
        name = call.split(" ", 1)[1]
        folder = os.path.dirname(name)
        file = folder if "artifacts" in folder else re.sub(r"\d+", "N", name)
        groups.setdefault((kind(call), file), []).append(place)
    order = sorted(groups.values(), key=lambda group: dice.random())
    drawn: list[tuple[str, int]] = []
    while len(drawn) < SAMPLES:
        for group in order:
            place = group[0] if dice.random() < 0.5 else dice.choice(group)
            counts = {name: [drawn_name for drawn_name, _ in drawn].count(name) for name, fault in FAULTS.items()
                      if fault.kinds & kind(calls[place])}  # fmt: skip
            drawn.append((min(counts, key=counts.get), place))
    return drawn[:SAMPLES]


def test_every_failing_write_ends_in_one_line_and_loses_nothing(server, prepared, tmp_path):
    def check(number: int, name: str, place: int) -> str | None:
        fault = FAULTS[name]
        at = sum(bool(kind(earlier) & fault.kinds) for earlier in prepared.calls[: place + 1])
        store = copy(prepared.store, tmp_path / str(number))
        before = store.trained(prepared.finished), store.files(prepared.finished)
        watch = Watch(str(store.folder), str(tmp_path / f"{number}.log"), fault.kinds, "", at, fault.error,
                      fault.lasting)  # fmt: skip
        resume = f"resume={prepared.interrupted}"
        ended = train(server, store, resume, watch=watch)
        status = store.trained(prepared.interrupted)[0]
        (call,) = calls_of(Path(watch.log))[at - 1 : at] or ["none"]
        told = f"{number}: {name} at call {place} ({call}): exit {ended.code}, {status}, {ended.stderr!r}"
        print(told)
        trouble = []
        lines = ended.stderr.splitlines()
        if ended.code not in (0, 1, 2) or len(lines) > 3 or "Traceback" in ended.stderr:
            trouble.append("is not told in one line")
        if ended.code and (not lines or not lines[-1].startswith(("error: ", "failed: "))):
            trouble.append("is not told")
        if ended.code == 0 and status != "FINISHED":
            trouble.append("exits with 0 but is not recorded as finished")
        if ended.code and not fault.lasting and status not in ("FAILED", "KILLED"):
            trouble.append("is not recorded as failed")
        if (problems := store.rows("PRAGMA integrity_check")) != [("ok",)]:
            trouble.append(f"leaves a broken store: {problems}")
        if (store.trained(prepared.finished), store.files(prepared.finished)) != before:
            trouble.append("changes another run")
        if status != "FINISHED":
            again = train(server, store, resume)
            if (again.code, again.stderr) != (0, ""):
                trouble.append(f"cannot be resumed: exit {again.code}, {again.stderr!r}")
        if store.trained(prepared.interrupted) != prepared.store.trained(prepared.finished):
            trouble.append("does not end as undisturbed")
        shutil.rmtree(store.folder)
        return f"{told}\n    {'; '.join(trouble)}" if trouble else None

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        drawn = samples(prepared.calls)
        found = [trouble for trouble in pool.map(lambda one: check(one[0], *one[1]), enumerate(drawn)) if trouble]
    assert not found, f"{len(found)} of {len(drawn)}, seed {SEED}:\n" + "\n".join(found)

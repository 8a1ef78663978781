"""A copy of the project with a folder of small pictures, what its store records, and what it should record."""

from __future__ import annotations

import compileall
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from cifar.runtime.paths import ROOT
from helpers.warm import Completed, Server

EPOCHS = 3
SETTINGS = (f"epochs={EPOCHS}", "data=folder", "data.size=8", "data.val_fraction=0.2", "model.filters=[4]",
            "model.classifier.units=[8]", "batch_size=8", "augmentation=[flip]", "schedule=constant",
            "callbacks=[checkpoint]")  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """What a training leaves in the store: metrics by name and epoch (0: of the whole), the weights, the data."""

    metrics: Mapping[tuple[str, int], float]
    weights: str
    fingerprint: str

    def begins_like(self, other: Trained) -> bool:
        """Whether this is what `other` is, or as much of it as there was until some moment."""
        return self.metrics.items() <= other.metrics.items()


@dataclass(frozen=True)
class Recorded(Trained):
    """A run as the store has it."""

    id: str = ""
    status: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_sweep(self) -> bool:
        return "sweep" in self.tags


def recorded(home: Path) -> dict[str, Recorded]:
    """All runs of the store in `home` that are not deleted, by id."""
    if not (home / "mlflow.db").exists():
        return {}
    connection = sqlite3.connect(home / "mlflow.db")
    try:
        return {run_id: _recorded(connection, run_id, status) for run_id, status in connection.execute(
            "SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'").fetchall()}  # fmt: skip
    finally:
        connection.close()


def _recorded(connection: sqlite3.Connection, run_id: str, status: str) -> Recorded:
    rows = connection.execute("SELECT key, step, value FROM metrics WHERE run_uuid = ?", (run_id,)).fetchall()
    metrics = {(key, step): value for key, step, value in rows if key != "images_per_second"}
    params = dict(connection.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run_id,)).fetchall())
    tags = dict(connection.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,)).fetchall())
    assert len(rows) == len({(key, step) for key, step, _ in rows}), f"run {run_id}: an epoch is recorded twice"
    weights, fingerprint = tags.get("weights_sha256", ""), tags.get("dataset_fingerprint", "")
    return Recorded(metrics, weights, fingerprint, run_id, status, params, tags)


def begun(ended: Completed) -> str:
    """The id of the run, or of the sweep, that a process has said to begin; empty where it was ended before."""
    found = re.match("(run|sweep) ([0-9a-f]{32}):", ended.stdout)
    return found[2] if found else ""


def draw_pictures(folder: Path) -> None:
    """Two classes of small pictures, the same each time."""
    dice = np.random.default_rng(0)
    for part, count in (("train", 15), ("test", 5)):
        for label, name in enumerate(("cats", "dögs")):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                save(folder / part / name / f"{number}.png", dice, 100 * label)


def save(path: Path, dice: np.random.Generator, brightness: int) -> None:
    Image.fromarray(dice.integers(brightness, brightness + 150, (8, 8, 3), np.uint8)).save(path)


def copy_project(folder: Path) -> Path:
    """The project in a new `folder`, whose runs on a server or a database keep their files there."""
    for name in ("cifar", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run.py", ".gitignore", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


class World:
    """A server of warm processes, a project to copy, and what trainings come to that nothing disturbs."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "server").mkdir()
        self.server = Server(folder / "server", watches_writes=True)
        self.project = copy_project(folder / "original")
        compileall.compile_dir(self.project, quiet=1)
        git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")
        for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "all")):
            subprocess.run([*git, *command], cwd=self.project, check=True)
        self._truths: dict[tuple[int, str, int], Trained] = {}

    def copy(self, home: Path) -> None:
        """A project of its own at `home`, in which nothing has been trained yet."""
        shutil.copytree(self.project, home, ignore=shutil.ignore_patterns("mlflow.db*", "mlruns"))

    def truth(self, seed: int, rate: str, extra: int) -> Trained:
        """What a training of these settings on the pictures and so many extra ones comes to."""
        key = seed, rate, extra
        if key not in self._truths:
            data = self.folder / f"with {extra}" / "data"
            if not data.exists():
                draw_pictures(data)
                add_pictures(data, extra)
            ended = self.server.run(self.project / "run.py", *SETTINGS, f"data.path='{data}'", f"seed={seed}",
                                    f"optimizer.lr={rate}", cwd=self.project)  # fmt: skip
            assert (ended.code, ended.stderr) == (0, ""), ended
            run = recorded(self.project)[begun(ended)]
            assert run.status == "FINISHED"
            self._truths[key] = Trained(run.metrics, run.weights, run.fingerprint)
        return self._truths[key]


def add_pictures(data: Path, count: int) -> None:
    """The first `count` of the pictures that may be added."""
    for number in range(count):
        save(data / "train" / "cats" / f"extra {number}.png", np.random.default_rng(number + 1), 50)

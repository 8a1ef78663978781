"""Files that nothing needs any more: those of deleted runs, and checkpoints of runs that have finished or are unknown.

Only folders of this store are looked at: `mlruns/RUN/` by the ids of runs that this program has recorded, and of these
the folders `work` that carry its mark.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from cifar.files import ownership
from cifar.runtime import private_api
from cifar.runtime.errors import InputError
from cifar.tracking import addresses, queries, store
from cifar.tracking.names import PROCESS
from cifar.tracking.queries import StoredRun

RUN_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Waste:
    """What can be deleted of a run: files and folders, and for a deleted run its rows in the database."""

    run_id: str
    name: str
    paths: tuple[Path, ...]
    is_deleted_run: bool = False
    models: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        files = (file for path in self.paths for file in (path, *path.rglob("*")))
        return sum(file.lstat().st_size for file in files if file.is_file() or file.is_symlink())

    def delete(self) -> None:
        """Delete the files, then the rows; raises `InputError`."""
        uri = mlflow.get_tracking_uri()
        with store.reported(InputError, f"gc: run {self.run_id}"):
            for path in self.paths:
                _remove(path)
            _remove_empty(addresses.folder(uri) / self.run_id)
            if self.is_deleted_run:
                rows = SqlAlchemyStore(uri, addresses.folder(uri).as_uri())
                private_api.hard_delete(rows, self.run_id, self.models)


def check(uri: str | None) -> None:
    """Raises `InputError` for a store whose files are on another machine."""
    address = addresses.chosen(uri)
    if not addresses.is_database(address):
        raise InputError(
            f"gc: {addresses.shown(address)} is a server, which keeps the files of its runs; run `mlflow gc` there"
        )


def deleted_runs() -> Iterator[Waste | str]:
    """The deleted runs that this program has recorded; for one whose files stay, a line that says why."""
    client, folder = mlflow.MlflowClient(), addresses.folder(mlflow.get_tracking_uri())
    for run in queries.search_deleted():
        if PROCESS not in run.tags:
            continue
        with store.reported(InputError, f"gc: run {run.id}"):
            info = client.get_run(run.id).info
            found = client.search_logged_models([info.experiment_id], f"source_run_id = '{run.id}'")
            versions = client.search_model_versions(f"run_id = '{run.id}'")
        places = {_path(info.artifact_uri): folder / run.id / "artifacts"}
        places |= {_path(model.artifact_location): folder / "models" / model.model_id / "artifacts" for model in found}
        elsewhere = [place for place, expected in places.items() if place != expected.resolve()]
        if run.status == "RUNNING":
            yield f"run {run.id} is running"
        elif versions:
            yield f"run {run.id} is registered as {versions[0].name}, version {versions[0].version}"
        elif elsewhere:
            yield f"run {run.id} has files elsewhere, in {elsewhere[0] or info.artifact_uri}: `mlflow gc` deletes them"
        else:
            yield Waste(run.id, run.name, _of_deleted(run, folder, [model.model_id for model in found]), True,
                        tuple(model.model_id for model in found))  # fmt: skip


def checkpoints() -> tuple[list[Waste], list[Waste]]:
    """Checkpoints of finished runs, which could be extended, and of runs that no store in this folder has."""
    uri = mlflow.get_tracking_uri()
    runs = {run.id: run for run in queries.search_runs()}
    known = {*runs, *(run.id for run in queries.search_deleted()), *_neighbors(uri)}
    finished, unknown = [], []
    folder = addresses.folder(uri)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        work = path / "work"
        if RUN_ID.fullmatch(path.name) and (work / ownership.MARKER).is_file():
            if path.name not in known:
                unknown.append(Waste(path.name, "", (work,)))
            elif path.name in runs and runs[path.name].status == "FINISHED":
                finished.append(Waste(path.name, runs[path.name].name, (work,)))
    return finished, unknown


def _of_deleted(run: StoredRun, folder: Path, models: list[str]) -> tuple[Path, ...]:
    """The files of a deleted run that exist."""
    claims = folder / ".claims"
    places = [folder / run.id / "artifacts", folder / run.id / "work", claims / f"run-{run.id}", claims / run.id]
    places += [folder / "models" / model for model in models]
    return tuple(path for path in places if path.exists())


def _neighbors(uri: str) -> set[str]:
    """The ids of the runs of other SQLite stores that share this folder of files."""
    found: set[str] = set()
    for path in addresses.folder(uri).parent.glob("*.db"):
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
                found |= {run_id for (run_id,) in connection.execute("SELECT run_uuid FROM runs")}
        except sqlite3.Error:  # another program's file
            continue
    return found


def _path(location: str) -> Path | None:
    """The folder of a location of artifacts on this machine; `None` for one elsewhere."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path) if parts.scheme else location).resolve()


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.name == "work" or path.parent.name == ".claims":
        ownership.remove_folder(path)
    else:
        shutil.rmtree(path)


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()

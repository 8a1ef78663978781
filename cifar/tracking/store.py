"""The store of runs: a SQLite file, a PostgreSQL database, or a server that may be away.

Opening it, its errors in one line, and locks among those who share it.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from cifar.config.settings import TrackingSettings
from cifar.runtime import interrupts
from cifar.runtime.errors import InputError, TrainingError, first_line, warn
from cifar.tracking import addresses, locations
from cifar.tracking.addresses import folder, is_database, is_local, shown
from cifar.tracking.locks import Lock, lock, locked

# MLflow logs a traceback, as an error, for each exception of a database that it also raises.
for noisy in ("mlflow", "alembic"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)
locations.resolve_on_reading()

FINGERPRINT = "dataset_fingerprint"
IDENTITY = "settings_sha256"
STARTS = "starts.json"
CODE = "code"
"""The tag that names the code of all starts of a run."""
RESUMED = "resumed."
"""How the tag of a setting begins that a resume has changed: its latest value."""
SCHEDULE_MOVED = "schedule_moved"
Result = TypeVar("Result")

PAUSE = 2.0
"""Seconds between two tries of a store that is away."""
FAILURES = (OSError, MlflowException, SQLAlchemyError, sqlite3.Error)
"""What a store that is away, broken or not writable raises."""


REMEDIES = (
    ("disk is full|No space left", "free space there"),
    ("readonly database|unable to open database file|Permission denied|Read-only file", "make the folder and its files "
     "readable and writable for this user"),
    ("is locked", "another process holds it; try again once that has ended"),
    ("malformed|not a database", "restore the file from a backup"),
    ("Current state is deleted", "it was deleted in MLflow; restore it there, then resume the run"),
)  # fmt: skip
"""What to do about an error whose message matches a pattern."""


def connect(uri: str | None) -> None:
    """Make `uri` the store of runs, creating it where it does not exist; see `addresses.chosen` for the default.

    Several processes may be the first at once, and MLflow makes a broken database then: one opens it after the other.
    Raises `InputError` where it cannot be opened.
    """
    uri = addresses.chosen(uri)
    with reported(InputError, f"tracking.uri={shown(uri)}: cannot be opened"):
        if is_local(uri):
            _check_file(uri)
            _check_writable(uri)
        if is_database(uri):
            folder(uri).mkdir(parents=True, exist_ok=True)
            with locked(uri, "store"):
                if is_local(uri):
                    _make(addresses.database(uri))
                _select(uri)
        else:
            _select(uri)


def connect_existing(uri: str | None) -> None:
    """Make `uri` the store of runs, for reading; creates nothing. Raises `InputError` where there is no store."""
    uri = addresses.chosen(uri)
    with reported(InputError, f"tracking.uri={shown(uri)}: cannot be opened"):
        if is_local(uri) and not _check_file(uri):
            hint = addresses.nearest(uri) or " nothing is recorded there"
            raise InputError(f"tracking.uri={shown(uri)}: does not exist;{hint}")
        _select(uri)


@contextmanager
def opened(uri: str | None) -> Iterator[None]:
    """Inside the `with`, `uri` is the store of runs, as by `connect_existing`.

    Afterwards MLflow's own, and the variable that names it, are as before.
    """
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else ""
    variable = os.environ.get(addresses.VARIABLE)
    try:
        connect_existing(uri)
        yield
    finally:
        mlflow.set_tracking_uri(before)  # sets the variable too
        if variable is None:
            os.environ.pop(addresses.VARIABLE, None)
        else:
            os.environ[addresses.VARIABLE] = variable


def exists(uri: str | None) -> bool:
    """False for a SQLite store that has not been created yet; raises `InputError` where its file is something else."""
    uri = addresses.chosen(uri)
    with reported(InputError, f"tracking.uri={shown(uri)}: cannot be opened"):
        return not is_local(uri) or _check_file(uri)


def check(settings: TrackingSettings) -> None:
    """Raises `InputError` where a run could not be recorded as `settings` ask; creates no SQLite store."""
    uri = addresses.chosen(settings.uri)
    if not is_local(uri):
        connect(uri)
        return
    with reported(InputError, f"tracking.uri={shown(uri)}: cannot be opened"):
        _check_writable(uri)
    if exists(uri):
        connect_existing(uri)
        with reported(InputError, f"tracking.experiment={settings.experiment}"):
            _active(uri, settings.experiment)


def _select(uri: str) -> None:
    address = addresses.normalized(uri)
    client = mlflow.MlflowClient(address)  # refuses what is no address
    if is_database(uri):
        client.search_experiments(max_results=1)
    mlflow.set_tracking_uri(address)


def _check_file(uri: str) -> bool:
    """True where the SQLite file has MLflow's tables, False where it does not exist or is empty.

    MLflow itself would try for 100 seconds to open what is no database. Raises `InputError` for a file of another kind.
    """
    path = addresses.database(uri)
    if path.is_dir():
        raise InputError(
            f"tracking.uri={shown(uri)}: is a folder; should be a file in it, such as "
            f"{shown(f'sqlite:///{path}/mlflow.db')}"
        )
    if not path.exists():
        return False
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "experiments" not in tables:
        raise InputError(f"tracking.uri={shown(uri)}: is a SQLite file of another program, without MLflow's tables")
    return bool(tables)


def _check_writable(uri: str) -> None:
    """Raises `OSError` where a SQLite store, or its folder of artifacts, cannot be written or created."""
    path = addresses.database(uri)
    places = (path.parent, path, folder(uri))
    for place in places:
        existing = next(part for part in (place, *place.parents) if part.exists())
        if existing != place and not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(existing))
        if not os.access(existing, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(existing))


def _make(path: Path) -> None:
    """Make a SQLite store, where there is none, under another name first: one that is half made cannot be mended."""
    if path.exists():
        return
    partial = path.with_name(f"{path.name}.partial")
    for left in (Path(f"{partial}{suffix}") for suffix in ("", "-journal", "-wal", "-shm")):
        left.unlink(missing_ok=True)
    mlflow.MlflowClient(addresses.sqlite(partial)).search_experiments(max_results=1)
    partial.replace(path)


def experiment_id(uri: str, name: str) -> str:
    """The id of the experiment called `name`, created where it does not exist; raises `InputError` if it is deleted."""
    client = mlflow.MlflowClient(uri)
    with locked(uri, "store"):
        if found := _active(uri, name):
            return found
        # The kind decides what MLflow's page shows first: runs with their charts, not traces of language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return client.create_experiment(name, folder(uri).as_uri() if is_database(uri) else None, tags)


def _active(uri: str, name: str) -> str | None:
    """The id of an experiment, `None` where it does not exist; raises `InputError` for one that is deleted."""
    experiment = mlflow.MlflowClient(addresses.normalized(uri)).get_experiment_by_name(name)
    if experiment and experiment.lifecycle_stage != "active":
        raise InputError(
            f"tracking.experiment={name}: was deleted in MLflow; set another name, or restore it: "
            f"MLFLOW_TRACKING_URI={shlex.quote(shown(uri))} mlflow experiments restore --experiment-id "
            f"{experiment.experiment_id}"
        )
    return experiment.experiment_id if experiment else None


@contextmanager
def reported(kind: type[InputError | TrainingError], what: str, uri: str = "") -> Iterator[None]:
    """Turn an error of the store, or of its files, into one of this `kind`: what failed, why, what to do, and where."""
    try:
        yield
    except FAILURES as error:
        raise kind(f"{what}: {explained(error)}" + (f" (in {shown(uri)})" if uri else "")) from None


def explained(error: Exception) -> str:
    """The reason that an error of the store gives, in one line, and the remedy where one is known."""
    if isinstance(error, OSError) and error.strerror:
        reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        # SQLAlchemy begins with the class of the error.
        reason = re.sub(r"^\(\S+\) ", "", first_line(error)).rstrip(".")
    remedy = next((remedy for pattern, remedy in REMEDIES if re.search(pattern, reason)), "")
    return f"{reason}; {remedy}" if remedy else reason


def is_unreachable(error: Exception) -> bool:
    """True if an error means that the store cannot be reached, not that it refuses a request."""
    return getattr(error, "error_code", "INTERNAL_ERROR") in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")


def retry(uri: str, call: Callable[[], Result], seconds: float = math.inf) -> Result:
    """Call, and again and again for so long as the store, which is no file of this machine, does not answer.

    A process that is to end does not wait.
    """
    end, has_warned = time.monotonic() + seconds, False
    while True:
        try:
            return call()
        except FAILURES as error:
            if is_local(uri) or not is_unreachable(error) or time.monotonic() > end or interrupts.pending():
                raise
        if not has_warned:
            warn(f"{shown(uri)} does not answer and is asked again")
        has_warned = True
        time.sleep(PAUSE)


def claim_run(uri: str, run_id: str) -> Lock | None:
    """The lock on a run, which the process that trains it holds; `None` where another has it."""
    return lock(uri, f"run-{run_id}")

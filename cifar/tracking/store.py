"""Where runs are recorded: a SQLite file, a PostgreSQL database, or a server that may be away; and the claims of those
who share it."""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from cifar import environment
from cifar.errors import InputError, warn
from cifar.files import ownership
from cifar.runtime.quiet import silence
from cifar.text import masked

# A server that does not answer costs a run 4 seconds, once; MLflow's own defaults make it 4 minutes a call.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow.exceptions import MlflowException

LOCAL = f"sqlite:///{environment.ROOT / 'mlflow.db'}"
CONFIG = "config.yaml"
DATASET = "dataset.json"
EXAMPLE = "model/input_example.json"
PROCESS = "process"
FINGERPRINT = "dataset_fingerprint"
IDENTITY = "settings_sha256"
DESCRIBED = "described"
FAILURE = "failure"
SWEEP = "sweep"
STARTS = "starts.json"
CODE = "code"
"""The tag that names the code of all starts of a run."""
RESUMED = "resumed."
"""How the tag of a setting begins that a resume has changed: its latest value."""
SCHEDULE_MOVED = "schedule_moved"
WEIGHTS_FILE = "weights_file_sha256"
SYNC_URI, SYNC_RUN = "sync_uri", "sync_run"
"""Tags of a run that was recorded here while its server was away: where it belongs, and as which run there."""

Result = TypeVar("Result")

PAUSE = 2.0
"""Seconds between two tries of a store that is away."""
FAILURES = (OSError, MlflowException, SQLAlchemyError)
"""What a store that is away, broken or not writable raises."""


def connect(uri: str | None) -> None:
    """Make `uri` (by default `mlflow.db` beside `run.py`) the store of runs.

    A database is made ready where it is not yet. Several processes may be the first at once, and MLflow makes a broken
    one then: one opens it after the other. Raises `InputError` where it cannot be opened.
    """
    silence("mlflow", "alembic")
    uri = uri or LOCAL
    try:
        folder(uri).mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(uri)
        if is_database(uri):
            with claimed(uri, "store"):
                if is_local(uri):
                    _make(Path(uri.removeprefix("sqlite:///")))
                mlflow.MlflowClient(uri).search_experiments(max_results=1)
        else:
            mlflow.MlflowClient(uri)  # refuses what is no address
    except FAILURES as error:
        raise InputError(f"tracking.uri={masked(uri)}: cannot be opened: {first_line(error)}") from None


def _make(path: Path) -> None:
    """Make a SQLite store, where there is none, under another name first: one that is half made cannot be mended."""
    if path.exists():
        return
    partial = path.with_name(f"{path.name}.partial")
    for left in (Path(f"{partial}{suffix}") for suffix in ("", "-journal", "-wal", "-shm")):
        left.unlink(missing_ok=True)
    mlflow.MlflowClient(f"sqlite:///{partial}").search_experiments(max_results=1)
    partial.replace(path)


def experiment_id(uri: str, name: str) -> str:
    """The id of the experiment called `name`, which is made where it is not there yet."""
    client = mlflow.MlflowClient(uri)
    with claimed(uri, "store"):
        experiment = client.get_experiment_by_name(name)
        if experiment:
            return experiment.experiment_id
        # The kind decides what MLflow's page shows first: runs with their charts, not traces of language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return client.create_experiment(name, folder(uri).as_uri() if is_database(uri) else None, tags)


def is_away(error: Exception) -> bool:
    """Whether an error tells of a store that cannot be reached, not of a request that it refuses."""
    return getattr(error, "error_code", "INTERNAL_ERROR") in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")


def patiently(uri: str, call: Callable[[], Result], seconds: float = math.inf) -> Result:
    """Call, and again and again for so long as the store, which is no file of this machine, does not answer."""
    end, told = time.monotonic() + seconds, False
    while True:
        try:
            return call()
        except FAILURES as error:
            if is_local(uri) or not is_away(error) or time.monotonic() > end:
                raise
        if not told:
            warn(f"{masked(uri)} does not answer and is asked again")
        told = True
        time.sleep(PAUSE)


def is_local(uri: str) -> bool:
    """Whether `uri` is a SQLite file."""
    return uri.startswith("sqlite:///")


def is_database(uri: str) -> bool:
    """Whether this process itself speaks to the database, and no server does for it."""
    return is_local(uri) or uri.startswith("postgresql")


def folder(uri: str) -> Path:
    """The folder for artifacts and for what is not an artifact yet: beside the SQLite file, else beside `run.py`."""
    database = Path((uri if is_local(uri) else LOCAL).removeprefix("sqlite:///")).resolve()
    return database.parent / "mlruns"


def file_sha256(path: Path) -> str:
    """SHA-256, in hexadecimal, of the file at `path`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its name where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@dataclass(frozen=True)
class Claim:
    """A name that no other process gets until this one, and those that inherited `descriptors` from it, let it go.

    A process that ends lets go, however it ends. On PostgreSQL a claim holds for all machines and is not inherited;
    else it holds for those that share the folder of the store.
    """

    held: IO[bytes] | Connection

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a process must be given at its start to hold the claim too."""
        return () if isinstance(self.held, Connection) else (self.held.fileno(),)

    def release(self) -> None:
        """Let go; those that inherited it may hold it still."""
        self.held.close()

    def end(self) -> None:
        """Let go of what nobody will claim again."""
        if not isinstance(self.held, Connection):
            Path(self.held.name).unlink(missing_ok=True)
        self.release()


def claim(uri: str, name: str, *, wait: bool = False) -> Claim | None:
    """The claim on `name` among the users of the store; `None` where another has it, unless told to `wait` for it."""
    return _advisory_lock(uri, name, wait) if uri.startswith("postgresql") else _file_lock(uri, name, wait)


def claim_run(uri: str, run_id: str) -> Claim | None:
    """The claim on a run, which the process that trains it holds; `None` where another has it."""
    return claim(uri, f"run-{run_id}")


@contextmanager
def claimed(uri: str, name: str) -> Iterator[None]:
    """Inside the `with`, no other process is inside one of this `name`."""
    held = claim(uri, name, wait=True)
    try:
        yield
    finally:
        held.release()


def _file_lock(uri: str, name: str, wait: bool) -> Claim | None:
    path = folder(uri) / ".claims" / name
    ownership.make_folder(path.parent)
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return Claim(file)


def _advisory_lock(uri: str, name: str, wait: bool) -> Claim | None:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    # Without a transaction, which would keep the database from cleaning up for as long as the claim is held.
    connection = create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect()
    if wait:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
    elif not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
        connection.close()
        return None
    return Claim(connection)

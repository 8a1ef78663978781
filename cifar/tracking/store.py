"""Where runs are recorded: a SQLite file, or a server that may be away."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from cifar import environment
from cifar.errors import InputError

# A server that does not answer costs a run 4 seconds, once; MLflow's own defaults make it 4 minutes a call.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow.exceptions import MlflowException, RestException

LOCAL = f"sqlite:///{environment.ROOT / 'mlflow.db'}"
CONFIG = "config.yaml"
PROCESS = "process"
DESCRIBED = "described"
SYNC_URI, SYNC_RUN = "sync_uri", "sync_run"
"""Tags of a run that was recorded here while its server was away: where it belongs, and as which run there."""

FAILURES = (OSError, MlflowException, SQLAlchemyError)
"""What a store that is away, broken or not writable raises."""


def connect(uri: str | None) -> None:
    """Make `uri` (by default `mlflow.db` beside `run.py`) the store of runs.

    A SQLite store is made where it is not there yet. Several processes may be the first at once, and MLflow makes a
    broken one then: it is opened under a file lock. Raises `InputError` where it cannot be opened.
    """
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    uri = uri or LOCAL
    try:
        folder(uri).mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(uri)
        if is_local(uri):
            with _lock(folder(uri)):
                mlflow.MlflowClient(uri).search_experiments(max_results=1)
        else:
            mlflow.MlflowClient(uri)  # refuses what is no address
    except FAILURES as error:
        raise InputError(f"tracking.uri={uri}: cannot be opened: {first_line(error)}") from None


def experiment_id(uri: str, name: str) -> str:
    """The id of the experiment called `name`, which is made where it is not there yet."""
    client = mlflow.MlflowClient(uri)
    with _lock(folder(uri)):
        experiment = client.get_experiment_by_name(name)
        if experiment:
            return experiment.experiment_id
        # The kind decides what MLflow's page shows first: runs with their charts, not traces of language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return client.create_experiment(name, folder(uri).as_uri() if is_local(uri) else None, tags)


def is_away(error: Exception) -> bool:
    """Whether an error tells of a store that cannot be reached, not of a request that it refuses."""
    return not isinstance(error, RestException) or error.error_code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")


def is_local(uri: str) -> bool:
    """Whether `uri` is a SQLite file."""
    return uri.startswith("sqlite:///")


def folder(uri: str) -> Path:
    """The folder for artifacts and for what is not an artifact yet: beside the SQLite file, else beside `run.py`."""
    database = Path((uri if is_local(uri) else LOCAL).removeprefix("sqlite:///")).resolve()
    return database.parent / "mlruns"


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its name where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _lock(mlruns: Path) -> Iterator[None]:
    with (mlruns / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

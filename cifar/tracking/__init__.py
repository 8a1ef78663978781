"""Runs as MLflow records them; the only package that knows MLflow."""

import os

from cifar.runtime import lazy
from cifar.runtime.status import status

# A server that does not answer costs a run 4 seconds, once; MLflow's own defaults make it 4 minutes a call.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
with status("loading MLflow"):  # it takes seconds, whatever the command
    lazy.load("mlflow")

from cifar.tracking.ended import EndedRun
from cifar.tracking.locks import Lock
from cifar.tracking.page import serve as serve_page
from cifar.tracking.run import Run
from cifar.tracking.running import start, unrecorded
from cifar.tracking.runs import (
    examples,
    finished_run,
    placeholder_dataset,
    register,
    starts_of,
    stored_run,
    synchronise,
    weights_of,
    with_model_of_run,
)
from cifar.tracking.store import check, connect, connect_existing
from cifar.tracking.sweeps import SweepRun, sweep
from cifar.tracking.unfinished import find_resumable, locked, newest_unfinished

__all__ = [
    "EndedRun",
    "Lock",
    "Run",
    "SweepRun",
    "check",
    "connect",
    "connect_existing",
    "examples",
    "find_resumable",
    "finished_run",
    "locked",
    "newest_unfinished",
    "placeholder_dataset",
    "register",
    "serve_page",
    "start",
    "starts_of",
    "stored_run",
    "sweep",
    "synchronise",
    "unrecorded",
    "weights_of",
    "with_model_of_run",
]

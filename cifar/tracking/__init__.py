"""Runs as MLflow records them; the only package that knows MLflow."""

from cifar.tracking.locks import Claim
from cifar.tracking.page import serve as serve_page
from cifar.tracking.run import Run, start, unrecorded
from cifar.tracking.runs import (
    blank_dataset,
    examples,
    finished_run,
    stored_run,
    synchronise,
    weights_of,
    with_model_of_run,
)
from cifar.tracking.store import check, connect, connect_existing
from cifar.tracking.sweeps import SweepRun, sweep
from cifar.tracking.unfinished import claimed, find_resumable, newest_unfinished

__all__ = [
    "Claim",
    "Run",
    "SweepRun",
    "blank_dataset",
    "check",
    "claimed",
    "connect",
    "connect_existing",
    "examples",
    "find_resumable",
    "finished_run",
    "newest_unfinished",
    "serve_page",
    "start",
    "stored_run",
    "sweep",
    "synchronise",
    "unrecorded",
    "weights_of",
    "with_model_of_run",
]

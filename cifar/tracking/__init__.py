"""Runs as MLflow records them; the only package that knows MLflow."""

from cifar.tracking.run import Run, start, unrecorded
from cifar.tracking.runs import (
    blank_dataset,
    examples,
    finished_run,
    serve_ui,
    stored_run,
    synchronise,
    weights_of,
    with_model_of_run,
)
from cifar.tracking.store import Claim, connect
from cifar.tracking.sweeps import SweepRun, sweep
from cifar.tracking.unfinished import claimed, find_resumable, newest_unfinished

__all__ = [
    "Claim",
    "Run",
    "SweepRun",
    "blank_dataset",
    "claimed",
    "connect",
    "examples",
    "find_resumable",
    "finished_run",
    "newest_unfinished",
    "serve_ui",
    "start",
    "stored_run",
    "sweep",
    "synchronise",
    "unrecorded",
    "weights_of",
    "with_model_of_run",
]

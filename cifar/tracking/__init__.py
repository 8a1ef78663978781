"""Runs as MLflow records them; the only package that knows MLflow."""

from cifar.tracking.run import Run, start, sweep
from cifar.tracking.runs import find_resumable, serve_ui, stored_run, synchronise
from cifar.tracking.store import Claim, connect

__all__ = ["Claim", "Run", "connect", "find_resumable", "serve_ui", "start", "stored_run", "sweep", "synchronise"]

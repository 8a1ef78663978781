"""A run that has ended, to which more is added; its status and its training's records stay."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import mlflow

from cifar.interfaces import Evaluation
from cifar.runtime.errors import InputError, warn
from cifar.tracking.names import EVALUATED
from cifar.tracking.queries import StoredRun
from cifar.tracking.run import Run
from cifar.tracking.store import Result


class EndedRun(Run):
    """The records of `stored`, in the store that `connect_existing` has opened; raises `InputError` if that is away."""

    def __init__(self, stored: StoredRun):
        self._uri, self._error, self._final = mlflow.get_tracking_uri(), InputError, dict(stored.metrics)
        self.id = self._id = stored.id
        self.name = stored.name
        self._tags, self.last_step = dict(stored.tags), 0

    def count_look(self, fingerprint: str) -> None:
        """`log_look`, where the store can be written; else a warning."""
        try:
            self.log_look(fingerprint)
        except InputError as error:
            warn(f"the evaluation on the test images is not counted: {error}")

    def log_other(self, evaluation: Evaluation, prefix: str, source: Mapping[str, Any]) -> None:
        """Record an evaluation on other data: metrics, tables and pictures under `prefix`.

        A tag keeps its `source`: what identifies the images and how they were looked at.
        """
        tables = {f"{prefix}/{name}": table for name, table in evaluation.tables.items()}
        self.log_tags({f"{EVALUATED}{prefix}": json.dumps(source)})
        self.log_evaluation(Evaluation(evaluation.metrics, tables), prefix)
        self.log_figures({f"{prefix}/{name}": draw for name, draw in evaluation.figures.items()}, prefix)

    def _call(self, call: Callable[[mlflow.MlflowClient], Result]) -> Result:
        return call(mlflow.MlflowClient(self._uri))

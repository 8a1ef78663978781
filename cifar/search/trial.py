"""The Optuna trial that this process runs, as its sweep has passed it in the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cifar.config.registry import PRUNERS
from cifar.runtime.errors import TrainingError, warn

TRIAL = "CIFAR_TRIAL"
"""The variable of a job's environment that names its trial, as JSON."""


def variables(storage: str, study: str, trial: int, pruner: Mapping[str, Any], epochs: int) -> dict[str, str]:
    """What the environment of the job that runs this `trial` (its id) must have."""
    record = {"storage": storage, "study": study, "trial": trial, "pruner": dict(pruner), "epochs": epochs}
    return {TRIAL: json.dumps(record)}


def current() -> Trial | None:
    """The trial that this process runs; `None` where it is no job of a sweep that prunes."""
    record = os.environ.get(TRIAL)
    return Trial(**json.loads(record)) if record else None


class Trial:
    """A trial that records the value of each epoch and decides whether to prune.

    While the database does not answer, the training continues; it is asked again at the next epoch.
    """

    def __init__(self, storage: str, study: str, trial: int, pruner: Mapping[str, Any], epochs: int):
        import optuna

        from cifar.search.storage import open_storage

        self._storage, self._trial = open_storage(storage), trial
        self._pruner = PRUNERS.build(pruner, epochs=epochs)
        self._study = optuna.load_study(study_name=study, storage=self._storage, pruner=self._pruner)

    def report(self, value: float, epoch: int) -> None:
        """Report the value of an epoch, counted from 1, unless it has been reported before."""
        with self._retrying():
            if epoch not in self._storage.get_trial(self._trial).intermediate_values:
                self._storage.set_trial_intermediate_value(self._trial, epoch, value)

    def is_hopeless(self) -> bool:
        """True if the pruner ends the trial after the epochs reported so far."""
        with self._retrying():
            return self._pruner.prune(self._study, self._storage.get_trial(self._trial))
        return False

    @contextmanager
    def _retrying(self) -> Iterator[None]:
        import optuna

        try:
            yield
        except optuna.exceptions.UpdateFinishedTrialError:
            raise TrainingError("another sweep has taken this trial of the study for abandoned") from None
        except optuna.exceptions.StorageInternalError as error:
            warn(f"the study does not answer, so this epoch is neither reported nor pruned: {error.__cause__ or error}")

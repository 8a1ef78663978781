"""The trial of a study that this process runs, as the sweep that started it has told."""

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
    told = {"storage": storage, "study": study, "trial": trial, "pruner": dict(pruner), "epochs": epochs}
    return {TRIAL: json.dumps(told)}


def current() -> Trial | None:
    """The trial that this process runs; `None` where it is no job of a sweep that prunes."""
    told = os.environ.get(TRIAL)
    return Trial(**json.loads(told)) if told else None


class Trial:
    """A trial that is told the value of each epoch and says whether it is worth going on.

    A database that does not answer is waited for until the next epoch; the training goes on.
    """

    def __init__(self, storage: str, study: str, trial: int, pruner: Mapping[str, Any], epochs: int):
        import optuna

        from cifar.search.storage import open_storage

        self._storage, self._trial = open_storage(storage), trial
        self._pruner = PRUNERS.build(pruner, epochs=epochs)
        self._study = optuna.load_study(study_name=study, storage=self._storage, pruner=self._pruner)

    def report(self, value: float, epoch: int) -> None:
        """Tell the value of an epoch, counted from 1; an epoch that has been told of before is not told again."""
        with self._spoken_to():
            if epoch not in self._storage.get_trial(self._trial).intermediate_values:
                self._storage.set_trial_intermediate_value(self._trial, epoch, value)

    def is_hopeless(self) -> bool:
        """Whether the pruner ends the trial after the epochs that have been told of."""
        with self._spoken_to():
            return self._pruner.prune(self._study, self._storage.get_trial(self._trial))
        return False

    @contextmanager
    def _spoken_to(self) -> Iterator[None]:
        import optuna

        try:
            yield
        except optuna.exceptions.UpdateFinishedTrialError:
            raise TrainingError("another sweep has taken this trial of the study for abandoned") from None
        except optuna.exceptions.StorageInternalError as error:
            warn(f"the study does not answer, so this epoch is neither reported nor pruned: {error.__cause__ or error}")

"""The learning-rate range test: the loss of each step while the rate rises (Smith 2017, arXiv:1506.01186)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

from cifar import plots
from cifar.runtime.errors import TrainingError
from cifar.training.experiment import Experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEMORY = 0.9
"""Share of the earlier average in the exponential average of the losses."""
DIVERGED, EXPLODED = 4, 10
"""Multiples of the lowest average loss at which the test ends: for the average, and for the loss of a step."""
MARGIN = 10
"""The suggested rate is that of the lowest average loss, divided by this: there the loss still falls."""


class RangeTest(keras.callbacks.Callback):
    """Suggests a learning rate, and ends the training where the loss has risen far above its lowest.

    The model has its initial weights then, so that it can be validated.
    """

    def __init__(self, experiment: Experiment):
        super().__init__()
        self._schedule = experiment.schedule(experiment.phases[0])(experiment.settings.optimizer.lr)
        self._steps, self._images = experiment.steps_per_epoch, experiment.order.count
        self._batch_size = experiment.settings.batch_size
        # Checkpoints keep public lists of arrays.
        self.losses: list[np.ndarray] = []
        self.initial: list[np.ndarray] = []
        self.stop_reason = ""

    def on_train_begin(self, logs=None):
        self.initial = self.model.get_weights()

    def on_train_batch_end(self, batch, logs=None):
        loss = self._loss_of_step(float(logs["loss"]))
        if not math.isfinite(loss):
            rate = float(self._schedule(len(self.losses)))
            raise TrainingError(
                f"the loss is {loss} at the learning rate {rate:.2g}, before it has risen; "
                "a lower schedule.final ends the range test earlier"
            )
        self.losses.append(np.asarray(loss))
        averages = averaged(self.losses)
        lowest = min(averages)
        if averages[-1] > DIVERGED * lowest or loss > EXPLODED * lowest:
            if keras.backend.backend() == "jax":
                self.model.jax_state_sync()  # within an epoch, the values are not in the variables
            self.model.set_weights(self.initial)
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        averages, rates = averaged(self.losses), self._rates()
        best = int(np.argmin(averages))
        has_risen = averages[-1] > 1.1 * averages[best]
        end = "" if has_risen else "; the loss has hardly risen since: a higher schedule.final tests higher rates"
        self.stop_reason = (
            f"range test: the average loss is lowest, {averages[best]:.4g}, at the learning rate {rates[best]:.2g}; "
            f"suggested: optimizer.lr={rates[best] / MARGIN:.2g}{end}"
        )
        losses = list(map(float, self.losses))
        self._draw = functools.partial(plots.lr_range, rates, losses, averages, best, rates[best] / MARGIN)

    def figures(self) -> dict[str, Callable[[], Figure]]:
        """The picture of the loss over the learning rate."""
        return {"lr_range": self._draw}

    def _rates(self) -> list[float]:
        """The learning rate of each step."""
        return [float(self._schedule(step)) for step in range(len(self.losses))]

    def _loss_of_step(self, mean: float) -> float:
        """The loss of a step, of which `mean` is that of the epoch's images so far."""
        step = len(self.losses) % self._steps
        before, now = step * self._batch_size, min((step + 1) * self._batch_size, self._images)
        earlier = self._batch_size * sum(map(float, self.losses[len(self.losses) - step :]))
        return (mean * now - earlier) / (now - before)


def averaged(losses: Sequence[np.ndarray]) -> list[float]:
    """The exponential average of the losses up to each step, corrected for its start at zero."""
    averages, average = [], 0.0
    for step, loss in enumerate(losses, start=1):
        average = MEMORY * average + (1 - MEMORY) * float(loss)
        averages.append(average / (1 - MEMORY**step))
    return averages

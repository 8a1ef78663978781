"""A training that fits into a time: what an epoch takes is measured before it begins, and decides their number."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from cifar.distributed import devices
from cifar.runtime.errors import warn
from cifar.runtime.status import status
from cifar.runtime.terminal import duration
from cifar.training.checkpoints import Checkpoints
from cifar.training.experiment import Experiment
from cifar.training.moving_statistics import MovingStatistics

SHARE, LEAST_STEPS = 0.03, 10
"""The share of the time in which steps are measured, and the fewest steps."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Cost:
    """Seconds that compilation and an epoch take."""

    compilation: float
    epoch: float

    def epochs(self, seconds: float) -> int:
        """How many epochs fit into the `seconds`, at least one."""
        return max(1, int((seconds - self.compilation) / self.epoch))


def fitted(experiment: Experiment, model: keras.Model, clock: Clock = time.perf_counter) -> Experiment:
    """Return the experiment with as many epochs as `settings.minutes` have time for, and compile `model` for it.

    The model, which is compiled for the first phase, keeps its weights. Raises `InputError` where the schedule does not
    fit the number of epochs.
    """
    minutes = experiment.settings.minutes
    assert minutes is not None
    start = clock()
    with status(f"measuring how many epochs take {minutes:g} minutes"), devices.scope(experiment.settings.distribute):
        before = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
        cost = measured(experiment, model, SHARE * 60 * minutes, clock)
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)
        epochs = cost.epochs(60 * minutes - (clock() - start))
        chosen = experiment.with_epochs(epochs)
        chosen.compile(model, chosen.phases[0])
    if cost.compilation + cost.epoch > 60 * minutes:
        warn(f"minutes={minutes:g}: one epoch takes {duration(cost.compilation + cost.epoch)}")
    print(f"minutes={minutes:g}: epochs={epochs}, of {cost.epoch:.3g} s", flush=True)
    return chosen


def measured(experiment: Experiment, model: keras.Model, seconds: float, clock: Clock) -> Cost:
    """Measure the parts of an epoch; the steps of training for as many `seconds`."""
    batches, validation = experiment.training_batches(0, 0, 1), experiment.validation_batches()
    steps, watch = experiment.steps_per_epoch, Watch(seconds, clock)
    start = clock()
    model.fit(batches, steps_per_epoch=steps, callbacks=[watch], shuffle=False, verbose=0)
    statistics = MovingStatistics(model, experiment.statistics_batches())
    end_of_epoch = []
    for _ in range(2):  # the first compiles
        began = clock()
        statistics.recompute()
        model.evaluate(validation, verbose=0)
        with tempfile.TemporaryDirectory() as folder:
            Checkpoints(Path(folder), model, experiment.metrics, []).save(0, 0, {})
        end_of_epoch.append(clock() - began)
    compilation = watch.ends[0] - start + end_of_epoch[0] - end_of_epoch[1]
    return Cost(compilation, steps * watch.pace + end_of_epoch[1])


class Watch(keras.callbacks.Callback):
    """The `ends` of steps, until they have taken the `seconds`."""

    def __init__(self, seconds: float, clock: Clock):
        super().__init__()
        self._seconds, self._clock = seconds, clock
        self.ends: list[float] = []

    @property
    def pace(self) -> float:
        """Seconds of a step, without the first, which compiles."""
        return (self.ends[-1] - self.ends[0]) / max(1, len(self.ends) - 1)

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # waits until it is there
        self.ends.append(self._clock())
        if len(self.ends) > LEAST_STEPS and self.ends[-1] - self.ends[0] >= self._seconds:
            self.model.stop_training = True

"""The training loop: what happens in each phase, epoch and step, in order."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

import keras

from cifar.config import renamed
from cifar.config.settings import flatten
from cifar.distributed import devices
from cifar.optim import averaging
from cifar.runtime import interrupts
from cifar.runtime.errors import Interrupted
from cifar.runtime.job_report import report
from cifar.runtime.paths import EVENT_FILES
from cifar.tracking import Run
from cifar.tracking.names import STOP_REASON
from cifar.training.callbacks import keeper
from cifar.training.checkpoints import Checkpoints
from cifar.training.experiment import Experiment
from cifar.training.history import History
from cifar.training.moving_statistics import MovingStatistics
from cifar.training.phases import Phase
from cifar.training.progress import Progress
from cifar.training.trace import Trace

SIGNAL_INTERVAL = 10
"""Steps after which processes that train together agree on whether one of them has received a signal."""


def trainable_parameters(model: keras.Model) -> int:
    """The number of parameters that learn."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


class Loop(keras.callbacks.Callback):
    """Trains a compiled model from where its run stands to the end of its last phase.

    Keras's `fit` computes the steps and calls the `on_…` methods. All else happens in them, in the order of their
    lines: metrics, progress, the callbacks that the settings choose, averages of weights, statistics of batch
    normalization, checkpoints, MLflow, signals.

    `epoch` and `step` are those that come next, counted from 0. Outside of validation and of the ends of epochs and
    phases, the model has the trained weights; there it has their averages, if the settings ask for some.
    """

    def __init__(self, experiment: Experiment, model: keras.Model, run: Run):
        super().__init__()
        self.set_model(model)
        settings = experiment.settings
        self._experiment, self._run, self._steps = experiment, run, experiment.steps_per_epoch
        chosen = experiment.callbacks(run.folder)
        kept_by = keeper(settings.callbacks)
        # After those that the settings name, an experiment may have more.
        self._keeper = dict(zip(settings.callbacks, chosen, strict=False))[kept_by] if kept_by else None
        tracing = [Trace(run.folder / EVENT_FILES)] if settings.profile else []
        self._callbacks = keras.callbacks.CallbackList(
            [*chosen, *tracing], model=model, epochs=settings.total_epochs, steps=self._steps
        )
        self._checkpoints = Checkpoints(run.folder / "state", model, experiment.metrics, chosen)
        state = self._checkpoints.state
        self.epoch, self.step = state.epoch, state.step
        self._phase, self._first_epoch = state.values.get("phase", 0), state.values.get("first_epoch", 0)
        self._stopped = state.values.get("stopped", False)
        monitor = settings.callbacks[kept_by].monitor if kept_by else None
        self.history = History(renamed.metrics(state.values.get("history", {}), flatten(settings)), monitor)
        self._progress = Progress(settings.batch_size, self._steps)
        self._save_interval, self._saved = 60 * settings.state.minutes, time.perf_counter()
        self._signal_interval = SIGNAL_INTERVAL if devices.is_distributed() else 1

    @property
    def is_at_start(self) -> bool:
        """True where the run has no checkpoint yet."""
        return not self._checkpoints.state.arrays

    @property
    def kept_epoch(self) -> int | None:
        """The epoch, from 1, whose weights a callback keeps; `None` without such a callback."""
        return self._keeper.best_epoch + 1 if self._keeper else None

    @property
    def figures(self) -> dict[str, Callable[[], Any]]:
        """How to draw each figure of the callbacks, by its name, once the training is over."""
        drawing = (getattr(callback, "figures", dict) for callback in self._callbacks.callbacks)
        return {name: draw for figures in drawing for name, draw in figures().items()}

    def __str__(self) -> str:
        epochs = self._experiment.settings.total_epochs
        if self.step:
            return f"in epoch {self.epoch + 1} of {epochs}, after step {self.step} of {self._steps}"
        if not self.epoch:
            return "at the start: no checkpoint was saved"
        is_over = self._stopped or self.epoch >= epochs
        return f"after the last epoch, {self.epoch}" if is_over else f"at epoch {self.epoch + 1} of {epochs}"

    def train(self) -> None:
        """Run the phases that are left."""
        with contextlib.closing(self._progress):
            self._train()

    def _train(self) -> None:
        self._log_epochs()
        validation = self._experiment.validation_batches()
        for number in range(self._phase, len(self._experiment.phases)):
            phase = self._experiment.phases[number]
            self._begin(number, phase)
            last_epoch = self._first_epoch + phase.epochs
            while self.epoch < last_epoch and not self._stopped:
                # `fit` takes one number of steps for all epochs, so that the rest of an epoch is a fit of its own.
                until = self.epoch + 1 if self.step else last_epoch
                self.model.fit(
                    self._experiment.training_batches(self.epoch, self.step, until),
                    initial_epoch=self.epoch,
                    epochs=until,
                    steps_per_epoch=self._steps - self.step,
                    validation_data=validation,
                    callbacks=[self],
                    shuffle=False,
                    verbose=0,
                )
            self._end()

    def _begin(self, number: int, phase: Phase) -> None:
        if number:
            self._experiment.compile(self.model, phase)
            first = phase.unfreeze_from or "the first layer"
            self._progress.compiles()
            print(f"fine-tuning from {first} on: {trainable_parameters(self.model):,} trainable parameters")
        is_restored = number == self._phase and bool(self._checkpoints.state.arrays)
        if not is_restored:
            self._phase, self._first_epoch, self._stopped = number, self.epoch, False
        self._progress.epochs = self._first_epoch + sum(left.epochs for left in self._experiment.phases[number:])
        report(epochs=self._progress.epochs)
        self._callbacks.on_train_begin()
        # Variables that the first step has to create would make TensorFlow trace it twice.
        self.model.optimizer.build(self.model.trainable_variables)
        if is_restored:
            self._checkpoints.restore()
        self._statistics = MovingStatistics(self.model, self._experiment.statistics_batches())

    def _end(self) -> None:
        averaging.swap(self.model)
        self._callbacks.on_train_end()
        for callback in self._callbacks.callbacks:
            if reason := getattr(callback, "stop_reason", ""):
                print(reason, flush=True)
                self._run.log_tags({STOP_REASON: reason})

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_start, self._first_step = time.perf_counter(), self.step
        if self.step:
            self._checkpoints.restore_metrics()
        self._progress.begin(epoch, self.step)
        self._callbacks.on_epoch_begin(epoch)

    def on_train_batch_begin(self, batch, logs=None):
        self._callbacks.on_train_batch_begin(batch)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self._progress.step_done(self.step, logs)
        self._callbacks.on_train_batch_end(batch, logs)
        if self.step < self._steps:  # else the epoch's end does the same
            signum = self._signal() if self.step % self._signal_interval == 0 else 0
            if signum or time.perf_counter() - self._saved > self._save_interval:
                self.save()
            if signum:
                self._interrupt(signum)

    def on_test_begin(self, logs=None):
        self._training_end = time.perf_counter()
        self._progress.validation_begins()
        averaging.swap(self.model)
        self._statistics.recompute()
        self._callbacks.on_test_begin()

    def on_test_batch_begin(self, batch, logs=None):
        self._callbacks.on_test_batch_begin(batch)

    def on_test_batch_end(self, batch, logs=None):
        self._progress.validation_step_done()
        self._callbacks.on_test_batch_end(batch, logs)

    def on_test_end(self, logs=None):
        self._callbacks.on_test_end(logs)

    def on_epoch_end(self, epoch, logs=None):
        images = self._experiment.order.count * (self.step - self._first_step) / self._steps
        speed = images / (self._training_end - self._epoch_start)
        lr = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        self.history.append(logs, lr=lr, images_per_second=speed)
        self._progress.epoch_done(self.history.metrics(epoch + 1), is_best=self.history.has_improved)
        self._callbacks.on_epoch_end(epoch, logs)
        averaging.swap(self.model)
        self.epoch, self.step, self._stopped = epoch + 1, 0, bool(self.model.stop_training)
        self.save()
        self._log_epochs()
        if signum := self._signal():
            self._interrupt(signum)

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        self._checkpoints.save(self.epoch, self.step, {
            "history": self.history.epochs, "stopped": self._stopped,
            "phase": self._phase, "first_epoch": self._first_epoch,
        })  # fmt: skip
        self._saved = time.perf_counter()

    def _log_epochs(self) -> None:
        """Log the epochs that MLflow lacks. This follows a save, so that a resumed run logs none twice."""
        for epoch in range(self._run.last_step + 1, len(self.history) + 1):
            self._run.log_metrics(self.history.metrics(epoch), step=epoch)

    def _signal(self) -> int:
        """The signal that this process or one that it trains with has received, 0 for none."""
        return devices.all_reduce_max(interrupts.pending())

    def _interrupt(self, signum: int) -> None:
        devices.shutdown()
        raise Interrupted(signum)

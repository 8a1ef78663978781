"""Keras callbacks, configured by the names under which metrics are logged."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cifar.config.objective import lower_is_better
from cifar.config.registry import CALLBACKS
from cifar.config.schema import NonNegativeFloat, PositiveInt, Share
from cifar.files import atomic
from cifar.files.memory_file import memory_file
from cifar.runtime.errors import Pruned, TrainingError
from cifar.runtime.lazy import keras
from cifar.runtime.paths import EVENT_FILES, WEIGHTS
from cifar.search import trial
from cifar.training.event_files import EventFiles

if TYPE_CHECKING:
    from cifar.training.experiment import Experiment

Monitor = str
"""The name of a logged metric, such as `val/loss`; that it is logged is checked where the task is known."""


@CALLBACKS.register
def checkpoint(folder: Path, *, monitor: Monitor) -> keras.callbacks.Callback:
    """Keep the weights of the best epoch.

    They are in `folder`; a write that fails leaves the earlier file whole.
    """

    class Checkpoint(keras.callbacks.ModelCheckpoint):
        best_epoch = 0

        def on_epoch_end(self, epoch, logs=None):
            before = self.best
            with memory_file(WEIGHTS) as path:
                self.filepath = str(path)
                super().on_epoch_end(epoch, logs)
                if self.best != before:
                    atomic.write(folder / WEIGHTS, path.read_bytes())
                    self.best_epoch = epoch

    return Checkpoint(
        WEIGHTS, monitor=keras_name(monitor), mode=_mode(monitor), save_best_only=True, save_weights_only=True
    )


@CALLBACKS.register
def early_stopping(*, monitor: Monitor, patience: PositiveInt, min_delta: NonNegativeFloat) -> keras.callbacks.Callback:
    """Ends the training after `patience` epochs without improvement and restores the best epoch's weights.

    It waits from the peak of the learning rate on: while the rate rises, the metric may get worse.
    """

    class EarlyStopping(keras.callbacks.EarlyStopping):
        highest_lr = 0.0
        stop_reason = ""

        def on_train_begin(self, logs=None):
            super().on_train_begin(logs)
            self.highest_lr = 0.0

        def on_epoch_end(self, epoch, logs=None):
            lr = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            if lr > self.highest_lr:
                self.wait = -1  # Keras adds 1
            self.highest_lr = max(self.highest_lr, lr)
            super().on_epoch_end(epoch, logs)
            if self.stopped_epoch:
                self.stop_reason = (
                    f"early stopping after epoch {self.stopped_epoch + 1}: no better {monitor} in {patience} epochs; "
                    f"best: epoch {self.best_epoch + 1}"
                )

    return EarlyStopping(
        keras_name(monitor), min_delta=min_delta, patience=patience, mode=_mode(monitor), restore_best_weights=True
    )


@CALLBACKS.register
def reduce_lr(
    *, monitor: Monitor, factor: Share, patience: PositiveInt, min_lr: NonNegativeFloat
) -> keras.callbacks.Callback:
    """Multiplies the learning rate by `factor` after `patience` epochs without improvement."""
    return keras.callbacks.ReduceLROnPlateau(
        keras_name(monitor), factor=factor, patience=patience, min_lr=min_lr, mode=_mode(monitor)
    )


@CALLBACKS.register
def csv_logger(folder: Path) -> keras.callbacks.Callback:
    """Write `history.csv`, a line an epoch, to `folder`, from where it becomes an artifact of the run."""
    path = folder / "history.csv"

    def write(epoch, logs):
        header = ",".join(["epoch", *(logged_name(name) for name in logs)])
        # A resumed run may come to an epoch that is in the file already.
        earlier = path.read_text().splitlines()[1 : epoch + 1] if epoch else []
        row = ",".join([str(epoch + 1), *(repr(float(value)) for value in logs.values())])
        atomic.write(path, ("\n".join([header, *earlier, row]) + "\n").encode())

    return keras.callbacks.LambdaCallback(on_epoch_end=write)


@CALLBACKS.register
def tensorboard(folder: Path) -> keras.callbacks.Callback:
    """Writes the metrics of each epoch and the learning rate as event files in `folder`, for TensorBoard."""
    files = EventFiles(folder / EVENT_FILES)

    class TensorBoard(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            lr = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            files.write({**{logged_name(name): value for name, value in logs.items()}, "lr": lr}, epoch + 1)

    return TensorBoard()


@CALLBACKS.register
def terminate_on_nan() -> keras.callbacks.Callback:
    """Fails the run at the first step whose loss is not finite."""
    position = {"epoch": 0}

    def check(batch, logs):
        if not math.isfinite(logs["loss"]):
            raise TrainingError(f"the loss is {logs['loss']} in epoch {position['epoch']}, step {batch + 1}")

    return keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: position.update(epoch=epoch + 1), on_train_batch_end=check
    )


@CALLBACKS.register
def lr_range(experiment: Experiment) -> keras.callbacks.Callback:
    """Draws the loss over a rising learning rate, suggests a rate, and ends the training where the loss explodes."""
    from cifar.training.lr_range import RangeTest

    return RangeTest(experiment)


@CALLBACKS.register
def prune(*, monitor: Monitor) -> keras.callbacks.Callback:
    """End a job of a search when its pruner says so.

    It reports each epoch's value to the trial. In a run that is no job of such a sweep it does nothing.
    """
    if not (own := trial.current()):
        return keras.callbacks.Callback()

    def check(epoch, logs):
        # At the next epoch's begin, when all of the last one is recorded and saved.
        if epoch and own.is_hopeless():
            raise Pruned(epoch)

    def report(epoch, logs):
        own.report(float(logs[keras_name(monitor)]), epoch + 1)

    return keras.callbacks.LambdaCallback(on_epoch_begin=check, on_epoch_end=report)


def keeper(names: Iterable[str]) -> str | None:
    """The one of the callbacks called `names` that decides the epoch whose weights are kept; `None`: it is the last.

    Its `best_epoch`, from 0, is that epoch, and its `monitor` decides it.
    """
    return next((name for name in ("checkpoint", "early_stopping") if name in names), None)


def keras_name(metric: str) -> str:
    """Keras's name of a logged metric: `val/loss` is `val_loss`, `train/loss` is `loss`."""
    split, name = metric.split("/", 1)
    return name if split == "train" else f"{split}_{name}"


def logged_name(metric: str) -> str:
    """The name under which Keras's metric is logged: `val_loss` is `val/loss`, `loss` is `train/loss`."""
    return metric.replace("val_", "val/", 1) if metric.startswith("val_") else f"train/{metric}"


def _mode(metric: str) -> str:
    return "min" if lower_is_better(metric) else "max"

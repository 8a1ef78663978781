"""Metric history of a training."""

from __future__ import annotations

import math
import time

import keras

from cifar.config.objective import lower_is_better
from cifar.runtime.errors import TrainingError
from cifar.training.callbacks import logged_name
from cifar.training.progress import Progress


class Recorder(keras.callbacks.Callback):
    """The metrics of each epoch under their logged names; `monitor` names the one by which weights are kept, if any."""

    def __init__(self, images_per_step: float, monitor: str | None, progress: Progress):
        super().__init__()
        self._images_per_step, self._monitor, self._progress = images_per_step, monitor, progress
        self.history: dict[str, list[float]] = {}

    @property
    def epochs(self) -> int:
        """How many epochs are recorded."""
        return len(self.history.get("lr", ()))

    def metrics(self, epoch: int) -> dict[str, float]:
        """All metrics of an epoch, counted from 1."""
        return {name: values[epoch - 1] for name, values in self.history.items()}

    def best(self, epoch: int) -> dict[str, float]:
        """`epoch`, counted from 1, whose weights are kept, and its validation metrics, under `best/`."""
        metrics = self.metrics(epoch).items()
        return {
            "best/epoch": epoch,
            **{name.replace("val/", "best/"): value for name, value in metrics if name.startswith("val/")},
        }

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_test_begin(self, logs=None):
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        metrics = {logged_name(name): float(logs[name]) for name in sorted(logs, key=_reading_order)}
        metrics["lr"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        metrics["images_per_second"] = self._images_per_step * self.params["steps"] / (self._trained - self._start)
        for split in ("train", "val"):
            if not math.isfinite(loss := metrics[f"{split}/loss"]):
                raise TrainingError(f"the {'validation ' if split == 'val' else ''}loss is {loss} in epoch {epoch + 1}")
        for name, value in metrics.items():
            self.history.setdefault(name, []).append(value)
        self._progress.epoch_done(metrics, best=self._improves())

    def _improves(self) -> bool:
        """True where the monitored metric of the last epoch is better than all before; false without a monitor."""
        if self._monitor is None:
            return False
        *earlier, last = self.history[self._monitor]
        return all(last < value if lower_is_better(self._monitor) else last > value for value in earlier)

def _reading_order(metric: str) -> tuple[bool, bool]:
    return metric.startswith("val_"), not metric.endswith("loss")

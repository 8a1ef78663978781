"""Metrics of each epoch under the names by which they are logged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cifar.config.objective import lower_is_better
from cifar.runtime.errors import TrainingError
from cifar.training.callbacks import logged_name


class History:
    """The metrics of all epochs so far, as lists by name; `monitor` names the one by which weights are kept, if any."""

    def __init__(self, epochs: dict[str, list[float]], monitor: str | None):
        self.epochs, self._monitor = epochs, monitor

    def __len__(self) -> int:
        return len(self.epochs.get("lr", ()))

    @property
    def has_improved(self) -> bool:
        """True where the monitored metric of the last epoch is better than all before; false without a monitor."""
        if self._monitor is None:
            return False
        *earlier, last = self.epochs[self._monitor]
        return all(last < value if lower_is_better(self._monitor) else last > value for value in earlier)

    def metrics(self, epoch: int) -> dict[str, float]:
        """All metrics of an epoch, counted from 1."""
        return {name: values[epoch - 1] for name, values in self.epochs.items()}

    def best(self, epoch: int) -> dict[str, float]:
        """`epoch`, counted from 1, whose weights are kept, and its validation metrics, under `best/`."""
        metrics = self.metrics(epoch).items()
        return {
            "best/epoch": epoch,
            **{name.replace("val/", "best/"): value for name, value in metrics if name.startswith("val/")},
        }

    def append(self, logs: Mapping[str, Any], **more: Any) -> None:
        """Add an epoch, from Keras's `logs` and `more` metrics.

        Raises `TrainingError` for a loss that is not finite.
        """
        names = sorted(logs, key=lambda name: (name.startswith("val_"), not name.endswith("loss")))
        metrics = {logged_name(name): float(logs[name]) for name in names} | {k: float(v) for k, v in more.items()}
        for split, loss in (("", metrics["train/loss"]), ("validation ", metrics["val/loss"])):
            if not math.isfinite(loss):
                raise TrainingError(f"the {split}loss is {loss} in epoch {len(self) + 1}")
        for name, value in metrics.items():
            self.epochs.setdefault(name, []).append(value)

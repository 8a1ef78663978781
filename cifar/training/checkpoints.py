"""Checkpoints of a training: all that decides how it continues. Resuming from one is bit-exact on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cifar.distributed import devices
from cifar.training import checkpoint_file
from cifar.training.checkpoint_file import State


class Checkpoints:
    """Saves and restores a training in `folder`.

    A checkpoint holds the variables of the model and its optimizer (seed generators included), within an epoch those
    of the `metrics`, the public numbers and lists of weights of the `callbacks`, and `values` of the training loop.
    """

    def __init__(
        self,
        folder: Path,
        model: keras.Model,
        metrics: Sequence[keras.metrics.Metric],
        callbacks: Sequence[keras.callbacks.Callback],
    ):
        self._folder, self._model, self._metrics, self._callbacks = folder, model, metrics, callbacks
        self.state = checkpoint_file.load(folder)
        if devices.is_distributed():
            self.state = checkpoint_file.unpack(devices.broadcast_from_rank0(checkpoint_file.pack(self.state)))

    def save(self, epoch: int, step: int, values: dict[str, Any]) -> None:
        """Write a checkpoint that continues at step `step` of epoch `epoch`, both from 0; `values` are for JSON."""
        if keras.backend.backend() == "jax":
            self._model.jax_state_sync()  # within an epoch, the values are not in the variables
        arrays = _arrays(self._variables(), "model") | (_arrays(self._metric_variables(), "metrics") if step else {})
        for number, callback in enumerate(self._callbacks):
            values[f"callback/{number}"], lists = _memory(callback)
            for name, weights in lists.items():
                arrays |= {f"callback/{number}/{name}/{index:06}": weight for index, weight in enumerate(weights)}
        self.state = State(epoch, step, arrays, values)
        checkpoint_file.save(self.state, self._folder)

    def restore(self) -> None:
        """Set model, optimizer, which is built, metrics and callbacks to the checkpoint."""
        _assign(self._variables(), "model", self.state.arrays)
        for number, callback in enumerate(self._callbacks):
            _restore(callback, number, self.state)

    def restore_metrics(self) -> None:
        """Set the metrics to what they had accumulated where the checkpoint was saved within an epoch."""
        _assign(self._metric_variables(), "metrics", self.state.arrays)

    def _variables(self) -> list[keras.Variable]:
        return [*self._model.variables, *self._model.optimizer.variables]

    def _metric_variables(self) -> list[keras.Variable]:
        (loss,) = (metric for metric in self._model.metrics if metric.name == "loss")
        return [variable for metric in (loss, *self._metrics) for variable in metric.variables]


def _arrays(variables: Sequence[keras.Variable], kind: str) -> dict[str, np.ndarray]:
    return {f"{kind}/{index:06}": keras.ops.convert_to_numpy(variable) for index, variable in enumerate(variables)}


def _assign(variables: Sequence[keras.Variable], kind: str, arrays: dict[str, np.ndarray]) -> None:
    stored = [arrays[name] for name in sorted(arrays) if name.startswith(f"{kind}/")]
    for variable, array in zip(variables, stored, strict=True):
        variable.assign(array)


def _memory(callback: keras.callbacks.Callback) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    """The public numbers of a callback, and its lists of weights."""
    # Keras changes the sign of `min_delta` at the start of each process where less is better: it is not to be restored.
    public = {name: value for name, value in vars(callback).items() if not name.startswith("_") and name != "min_delta"}
    scalars = {
        name: value if value is None or isinstance(value, int) else float(value)
        for name, value in public.items()
        if value is None or isinstance(value, Real)
    }
    lists = {
        name: value
        for name, value in public.items()
        if isinstance(value, list) and value and all(isinstance(item, np.ndarray) for item in value)
    }
    return scalars, lists


def _restore(callback: keras.callbacks.Callback, number: int, state: State) -> None:
    vars(callback).update(state.values[f"callback/{number}"])
    lists: dict[str, list[np.ndarray]] = {}
    for name, array in sorted(state.arrays.items()):
        if name.startswith(f"callback/{number}/"):
            lists.setdefault(name.split("/")[2], []).append(array)
    vars(callback).update(lists)

"""What a training leaves behind as it goes: its history, and a state from which it goes on to the bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cifar.distributed import devices
from cifar.runtime import interrupts
from cifar.runtime.errors import Interrupted
from cifar.training import checkpoint_file
from cifar.training.history import Recorder

ASKING = 10
"""Steps after which processes that train together ask each other whether one has received a signal."""


class Saver(keras.callbacks.Callback):
    """Saves the state of the training at the end of each epoch, every `minutes` within it, and on a signal.

    The state is all of the model's, optimizer's and metrics' variables, what the `others` among the callbacks
    remember, the phase of the training, and the history. It stands last in the list of callbacks, so that the others
    have done their part before it saves or restores; `saved` is called after each epoch's save.
    """

    def __init__(
        self,
        folder: Path,
        recorder: Recorder,
        others: Sequence[keras.callbacks.Callback],
        steps: int,
        minutes: float,
        saved: Callable[[], None],
    ):
        super().__init__()
        self._folder, self._recorder, self._others, self._saved = folder, recorder, others, saved
        self._steps, self._seconds = steps, 60 * minutes
        self._asking = ASKING if devices.several() else 1
        self._state = checkpoint_file.load(folder)
        if devices.several():
            self._state = checkpoint_file.unpack(devices.from_first(checkpoint_file.pack(self._state)))
        recorder.history = self._state.values.get("history", {})

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, step) that is next, both from 0."""
        return self._state.epoch, self._state.step

    @property
    def phase(self) -> int:
        """The number, from 0, of the part of the training that is going on."""
        return self._state.values.get("phase", 0)

    @property
    def first_epoch(self) -> int:
        """The first epoch of the phase, from 0."""
        return self._state.values.get("first_epoch", 0)

    @property
    def stopped(self) -> bool:
        """Whether a callback has ended the phase."""
        return self._state.values.get("stopped", False)

    def enter(self, phase: int) -> None:
        """Begin a phase, unless it is the one that is restored: on what the model is by then, with a new optimizer.

        The callbacks begin again as in any `fit`; what they keep from one to the next, such as the best value of a
        checkpoint, stays.
        """
        if phase != self.phase:
            epoch = self._state.epoch
            self._state = checkpoint_file.State(epoch, values={"phase": phase, "first_epoch": epoch})

    def on_train_begin(self, logs=None):
        self._clock = time.perf_counter()
        if self._state.arrays:
            self.model.optimizer.build(self.model.trainable_variables)
            _assign(_variables(self.model), "model", self._state.arrays)
            for number, callback in enumerate(self._others):
                _restore(callback, str(number), self._state)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._first_step = epoch, self._state.step if epoch == self._state.epoch else 0
        if self._first_step:
            _assign(self.model.metrics_variables, "metrics", self._state.arrays)

    def on_train_batch_end(self, batch, logs=None):
        step = self._first_step + batch + 1
        if step < self._steps:
            signum = devices.greatest(interrupts.pending()) if step % self._asking == 0 else 0
            if signum or time.perf_counter() - self._clock > self._seconds:
                self._save(self._epoch, step)
            if signum:
                devices.leave()
                raise Interrupted(signum)

    def on_epoch_end(self, epoch, logs=None):
        self._save(epoch + 1, 0)
        self._saved()
        if signum := devices.greatest(interrupts.pending()):
            devices.leave()
            raise Interrupted(signum)

    def _save(self, epoch: int, step: int) -> None:
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()  # within an epoch, the values are not in the variables
        values: dict[str, Any] = {"history": self._recorder.history, "stopped": bool(self.model.stop_training),
                                  "phase": self.phase, "first_epoch": self.first_epoch}  # fmt: skip
        arrays = {
            **_arrays(_variables(self.model), "model"),
            **(_arrays(self.model.metrics_variables, "metrics") if step else {}),
        }
        for number, callback in enumerate(self._others):
            scalars, lists = _memory(callback)
            values[f"callback/{number}"] = scalars
            for name, weights in lists.items():
                arrays |= {f"callback/{number}/{name}/{index:06}": weight for index, weight in enumerate(weights)}
        self._state = checkpoint_file.State(epoch, step, arrays, values)
        checkpoint_file.save(self._state, self._folder)
        self._clock = time.perf_counter()


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


def _arrays(variables: Sequence[keras.Variable], kind: str) -> dict[str, np.ndarray]:
    return {f"{kind}/{index:06}": keras.ops.convert_to_numpy(variable) for index, variable in enumerate(variables)}


def _assign(variables: Sequence[keras.Variable], kind: str, arrays: dict[str, np.ndarray]) -> None:
    stored = [arrays[name] for name in sorted(arrays) if name.startswith(f"{kind}/")]
    for variable, array in zip(variables, stored, strict=True):
        variable.assign(array)


def _memory(callback: keras.callbacks.Callback) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    """What a callback remembers between epochs: its public numbers, and its lists of weights."""
    # Keras changes the sign of `min_delta` where less is better, in each process anew: that is no memory.
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


def _restore(callback: keras.callbacks.Callback, number: str, saved: checkpoint_file.State) -> None:
    vars(callback).update(saved.values[f"callback/{number}"])
    lists: dict[str, list[np.ndarray]] = {}
    for name, array in sorted(saved.arrays.items()):
        if name.startswith(f"callback/{number}/"):
            lists.setdefault(name.split("/")[2], []).append(array)
    vars(callback).update(lists)



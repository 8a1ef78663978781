"""A trace of some steps of a training, for the profiler of TensorBoard."""

from __future__ import annotations

from pathlib import Path

import keras

from cifar.runtime.lazy import Lazy, tf

SKIPPED, TRACED = 10, 10
"""Steps before those that are traced, in which a training compiles and settles, and as many that are."""

jax = Lazy("jax")


class Trace(keras.callbacks.Callback):
    """Traces steps of the first epoch that this process trains; of an epoch of few steps, those of its second half.

    The files are `plugins/profile/TIME/HOST.xplane.pb` in `folder`.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self._folder, self._left, self._is_running = str(folder), TRACED, False

    def on_train_batch_begin(self, batch, logs=None):
        if self._left and not self._is_running and batch >= min(SKIPPED, self.params["steps"] // 2):
            self._is_running = True
            if keras.backend.backend() == "jax":
                jax.profiler.start_trace(self._folder)
            else:
                tf.profiler.experimental.start(self._folder)

    def on_train_batch_end(self, batch, logs=None):
        if self._is_running:
            float(logs["loss"])  # waits until the step is computed
            self._left -= 1
            if not self._left:
                self._stop()

    def on_test_begin(self, logs=None):
        if self._is_running:  # the epoch has fewer steps left
            self._stop()

    def _stop(self) -> None:
        self._left, self._is_running = 0, False
        if keras.backend.backend() == "jax":
            jax.profiler.stop_trace()
        else:
            tf.profiler.experimental.stop()

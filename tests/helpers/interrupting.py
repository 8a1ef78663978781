"""A training that gets a signal at a chosen step."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import keras

from cifar.training.experiment import Experiment


class SendSignal(keras.callbacks.Callback):
    """Sends SIGINT to this process after step `place` (epoch from 0, step from 1)."""

    def __init__(self, place: tuple[int, int]):
        super().__init__()
        self._place, self._epoch = place, 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self._epoch, batch + 1) == self._place:
            os.kill(os.getpid(), signal.SIGINT)


@dataclass(frozen=True)
class InterruptedExperiment(Experiment):
    """An experiment whose training, begun from the start, gets a signal at `place`."""

    place: tuple[int, int]

    def callbacks(self, folder: Path) -> list[keras.callbacks.Callback]:
        return [*super().callbacks(folder), SendSignal(self.place)]

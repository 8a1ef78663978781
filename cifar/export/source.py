"""The model to export, rebuilt from a finished run's settings by the project's own code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cifar.config.settings import Settings
from cifar.nn import layers
from cifar.runtime.errors import InputError
from cifar.tracking.queries import StoredRun
from cifar.training import calibration, trainer
from cifar.training.experiment import Experiment

Outputs = dict[str, np.ndarray]
"""A model's outputs: arrays (n, …) by the output's name."""


@dataclass(frozen=True)
class Written:
    """A model on disk in one format.

    `files` are relative to the folder of the export; the first is the one that programs open. `predict` computes the
    outputs for uint8 images (n, height, width, channels) from these files. `tolerance` is the maximum difference to
    Keras's outputs; None for a format that loses precision by design.
    """

    format: str
    files: list[str]
    predict: Callable[[np.ndarray], Outputs]
    tolerance: float | None


@dataclass(frozen=True)
class Source:
    """A finished run, its experiment, and its model in float32, uncompiled, calibrated, with layers of Keras only."""

    run: StoredRun
    experiment: Experiment
    model: keras.Model

    @cached_property
    def named(self) -> keras.Model:
        """The model with a dictionary of the outputs that exported files have."""
        return keras.Model(self.model.input, self.experiment.task.exported(self.model), name=self.model.name)

    @property
    def is_decoded(self) -> bool:
        """True where exported outputs are computed from those of the model."""
        return not any(output is self.model.output for output in self.named.output.values())

    def evaluate(self, outputs: Outputs) -> dict[str, float]:
        """Evaluate `outputs` for the test images by the task's metrics."""
        task = self.experiment.task
        return task.evaluate(task.of_exported(outputs), self.experiment.dataset.test).metrics


def restore(run: StoredRun, settings: Settings, weights: Path) -> Source:
    """Restore the model of a run; raises `InputError` if data or weights are not those of the run."""
    # The runtimes that check an export compute on the CPU; a GPU rounds differently.
    tf.config.set_visible_devices([], "GPU")
    experiment, model = trainer.restore(settings, weights, run.tags.get("dataset_fingerprint", ""))
    if trainer.weights_sha256(model) != run.tags.get("weights_sha256"):
        raise InputError(f"run {run.id}: the SHA-256 of the model's weights differs from the recorded one")
    return Source(run, experiment, calibration.calibrated(layers.portable(model), settings, run.metrics))


def batches(predict: Callable[[np.ndarray], Outputs], images: np.ndarray, size: int) -> Outputs:
    """Call `predict` on batches of at most `size` images and concatenate the outputs."""
    parts = [predict(images[first : first + size]) for first in range(0, len(images), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

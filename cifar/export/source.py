"""What is exported: the model of a finished run, rebuilt by the project's own code from the run's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cifar.config.settings import Settings
from cifar.nn import layers
from cifar.runtime.errors import InputError
from cifar.tracking.queries import StoredRun
from cifar.training import trainer
from cifar.training.experiment import Experiment

Outputs = dict[str, np.ndarray]
"""What a model says of images: arrays by the name of the output, whose first axis is that of the images."""


@dataclass(frozen=True)
class Written:
    """A model on disk in one format.

    `files` are below the folder of the export, the first of them that which a program is pointed at. `predict` answers
    uint8 images (n, height, width, channels) from these files alone. `tolerance` is how far the answers may be from
    those of Keras; `None` for a format that is meant to lose precision.
    """

    format: str
    files: list[str]
    predict: Callable[[np.ndarray], Outputs]
    tolerance: float | None


@dataclass(frozen=True)
class Source:
    """A finished run, its experiment, and its model in float32, of Keras's own layers and not compiled."""

    run: StoredRun
    experiment: Experiment
    model: keras.Model

    @cached_property
    def named(self) -> keras.Model:
        """The model from images to a dictionary of its outputs."""
        return keras.Model(self.model.input, self.by_name(self.model.output), name=self.model.name)

    def by_name(self, outputs: Any) -> dict[str, Any]:
        """Outputs of the model, in the structure that it gives them, by key or else by the layer of each."""
        if isinstance(outputs, dict):
            return outputs
        return dict(zip(self.model.output_names, keras.tree.flatten(outputs), strict=True))

    def evaluate(self, outputs: Outputs) -> dict[str, float]:
        """The task's metrics of `outputs` on the test images."""
        as_predicted: Any = outputs
        if not isinstance(self.model.output, dict):
            as_predicted = keras.tree.pack_sequence_as(self.model.output, list(outputs.values()))
        task = self.experiment.task
        return task.evaluate(task.predictions(as_predicted), self.experiment.dataset.test).metrics


def restore(run: StoredRun, settings: Settings, weights: Path) -> Source:
    """The source that a run is; raises `InputError` where data or weights are not those of the run any more."""
    # The programs that an export is held against compute on the CPU, and a GPU rounds otherwise.
    tf.config.set_visible_devices([], "GPU")
    experiment, model = trainer.restore(settings, weights, run.tags.get("dataset_fingerprint", ""))
    if trainer.weights_sha256(model) != run.tags.get("weights_sha256"):
        raise InputError(f"run {run.id}: the weights of its model do not have the SHA-256 that was recorded")
    return Source(run, experiment, layers.portable(model))


def batches(predict: Callable[[np.ndarray], Outputs], images: np.ndarray, size: int) -> Outputs:
    """What `predict` says of all `images`, of which it gets `size` at most at once."""
    parts = [predict(images[first : first + size]) for first in range(0, len(images), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

"""The model of a finished run, compiled and batched."""

from __future__ import annotations

import itertools
import math
import operator
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cifar import tracking
from cifar.serving import explaining
from cifar.serving.batching import Batcher
from cifar.serving.limits import Limits
from cifar.tracking.queries import StoredRun
from cifar.training import calibration, trainer
from cifar.training.experiment import Experiment

Observe = Callable[[int, float], None]
"""Called with the number of images of a batch and the seconds it took."""


class Model:
    """The model of a finished run as one compiled function, behind a `Batcher`.

    It is rebuilt from the run's settings by this project's code; only the weights are read from the run's files.
    TensorFlow computes, whatever backend the training used. Raises `InputError`.
    """

    def __init__(self, name: str, run: StoredRun, uri: str | None, limits: Limits, observe: Observe):
        self.name = name
        self.run, settings, weights = tracking.finished_run(uri, run.id)
        dataset = tracking.placeholder_dataset(self.run)
        overrides = {"backend": "tensorflow", "distribute": "none", "deterministic": False}
        experiment = Experiment.prepare(settings.model_copy(update=overrides), dataset)
        network = calibration.calibrated(trainer.with_weights(experiment, weights), settings, self.run.metrics)
        self.task, self.preparation = experiment.task, experiment.preparation
        self.image_shape = self.preparation.shape
        self.class_names = self.task.class_names
        self.task_name = settings.task.name
        self.examples = tracking.examples(self.run)
        exported = keras.Model(network.input, self.task.exported(network))
        self.outputs = {name: (output.dtype, output.shape) for name, output in exported.output.items()}
        """The data type and the shape (None, …) of each output, by name."""
        self.numbers = sum(math.prod(shape[1:]) for _, shape in self.outputs.values())
        """Numbers in the outputs of an image."""
        self._function = tf.function(
            lambda images: exported(images, training=False),
            input_signature=[tf.TensorSpec((None, *self.image_shape), tf.uint8)],
            autograph=False,
        ).get_concrete_function()
        self._observe = observe
        self._sizes = batch_sizes(limits.max_batch)
        for size in self._sizes:  # the first call of each size is slow
            self._function(tf.zeros((size, *self.image_shape), tf.uint8))
        bounds: dict[str, Any] = {"max_size": limits.max_batch, "max_wait": limits.max_wait, "max_queue": limits.queue}
        self.batcher = Batcher(self._compute, **bounds)
        if self.task.explains_classes:
            self.explainer = Batcher(explaining.explainer(network), **bounds)

    def _compute(self, requests: list[np.ndarray]) -> list[Any]:
        """Compute the outputs for the images of each request in one batch."""
        began = time.perf_counter()
        count = sum(map(len, requests))
        size = next(size for size in self._sizes if size >= count)
        images = np.concatenate([*requests, np.zeros((size - count, *self.image_shape), np.uint8)])
        outputs = tf.nest.map_structure(lambda x: x.numpy(), self._function(tf.constant(images)))
        self._observe(count, time.perf_counter() - began)
        ends = itertools.accumulate(map(len, requests))
        rows = [slice(end - len(images), end) for images, end in zip(requests, ends, strict=True)]
        return [tf.nest.map_structure(operator.itemgetter(row), outputs) for row in rows]


def batch_sizes(max_size: int) -> list[int]:
    """Return the sizes that batches are padded to: 1, 2, 3, 4, 6, 8, 12, 16, … and `max_size`.

    oneDNN generates and caches code for each size at its first use.
    """
    powers = [2**power for power in range(max_size.bit_length())]
    return sorted({size for size in (max_size, *powers, *(3 * power for power in powers)) if size <= max_size})

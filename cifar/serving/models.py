"""A finished run's model, ready to answer."""

from __future__ import annotations

import itertools
import operator
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from cifar import tracking, training
from cifar.experiment import Experiment
from cifar.serving import explaining
from cifar.serving.batching import Batcher
from cifar.serving.limits import Limits
from cifar.tracking.queries import StoredRun

Observe = Callable[[int, float], None]
"""Is told how many images a batch had, and how many seconds it took."""


class Model:
    """The model of a finished run as one compiled function, behind a `Batcher`.

    It is rebuilt from the run's settings by this project's code; of the run's files only the weights are read. What the
    training ran on does not matter here: TensorFlow computes, on what this machine has. Raises `InputError`.
    """

    def __init__(self, name: str, run: StoredRun, uri: str | None, limits: Limits, observe: Observe):
        self.name = name
        self.run, settings, weights = tracking.finished_run(uri, run.id)
        dataset = tracking.blank_dataset(self.run)
        here = {"backend": "tensorflow", "distribute": "none", "deterministic": False}
        experiment = Experiment.prepare(settings.model_copy(update=here), dataset)
        network = training.with_weights(experiment, weights)
        self.task, self.class_names, self.image_shape = experiment.task, dataset.class_names, dataset.image_shape
        self.task_name = settings.task["name"]
        self.examples = tracking.examples(self.run)
        self._output_names = list(network.output) if isinstance(network.output, dict) else network.output_names
        self._function = tf.function(
            lambda images: network(images, training=False),
            input_signature=[tf.TensorSpec((None, *self.image_shape), tf.uint8)],
            autograph=False,
        ).get_concrete_function()
        self._observe = observe
        self._warm_up(limits.max_batch)
        sizes = {"most": limits.max_batch, "wait": limits.max_wait, "queue": limits.queue}
        self.batcher = Batcher(self._compute, **sizes)
        if not self.task.by_place:
            self.explainer = Batcher(explaining.explainer(network), **sizes)

    def columns(self, outputs: Any) -> dict[str, list[Any]]:
        """The outputs of some images as the exported SavedModel gives them: by name, with the names of the classes."""
        arrays = tf.nest.flatten(outputs) if not isinstance(outputs, dict) else outputs.values()
        named = dict(zip(self._output_names, arrays, strict=True))
        images = len(next(iter(named.values())))
        columns = {name: array.tolist() for name, array in named.items()}
        return {**columns, "class_names": [list(self.class_names)] * images}

    def _compute(self, requests: list[np.ndarray]) -> list[Any]:
        """The outputs for the images of each request, from one batch of them all."""
        began = time.perf_counter()
        images = requests[0] if len(requests) == 1 else np.concatenate(requests)
        outputs = tf.nest.map_structure(lambda x: x.numpy(), self._function(tf.constant(images)))
        self._observe(len(images), time.perf_counter() - began)
        ends = itertools.accumulate(map(len, requests))
        rows = [slice(end - len(own), end) for own, end in zip(requests, ends, strict=True)]
        return [tf.nest.map_structure(operator.itemgetter(own), outputs) for own in rows]

    def _warm_up(self, most: int) -> None:
        """Compute batches of 1, 2, 4, … and `most` images, so that no request waits for what a first one makes."""
        sizes = {most, *(2**power for power in range(most.bit_length()))}
        for size in sorted(sizes):
            self._function(tf.zeros((size, *self.image_shape), tf.uint8))

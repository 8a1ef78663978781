"""The statistics with which batch normalization evaluates a model, computed for the weights that are evaluated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import keras
import numpy as np

from cifar.runtime.lazy import tf


class MovingStatistics:
    """The moving means and variances of the batch normalization of `model`, but for layers that are frozen.

    Keras averages them over the steps of training, while the weights change: where the weights change fast, or steps
    are few, they belong to no weights that the model ever had, and the validation loss says nothing about it.
    `recompute` sets them to the statistics of `batches` of training images, with the model's weights as they are now:
    Wu and Johnson 2021, arXiv:2105.07576, section 3. The training itself does not use them.
    """

    def __init__(self, model: keras.Model, batches: Iterable):
        self._model, self._batches = model, batches
        self._layers = [layer for layer in _normalizations(model) if layer.trainable]
        variables = [variable for layer in self._layers for variable in (layer.moving_mean, layer.moving_variance)]
        compiled = _on_tensorflow if keras.backend.backend() == "tensorflow" else _on_jax
        self._of_batch = compiled(model, variables)

    def recompute(self) -> None:
        """Set the statistics; all other variables, such as the states of dropout, stay as they are."""
        if not self._layers:
            return
        others = [(variable, keras.ops.convert_to_numpy(variable)) for variable in self._model.non_trainable_variables]
        found = []
        with _without_momentum(self._layers):
            for images, _ in self._batches:
                found.append([keras.ops.convert_to_numpy(value).astype("float64") for value in self._of_batch(images)])
        for variable, value in others:
            variable.assign(value)
        columns = [np.stack(column) for column in zip(*found, strict=True)]
        for number, layer in enumerate(self._layers):
            means, variances = columns[2 * number : 2 * number + 2]
            layer.moving_mean.assign(means.mean(0))
            layer.moving_variance.assign(variances.mean(0) + means.var(0))


def _normalizations(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _normalizations(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            yield layer


@contextlib.contextmanager
def _without_momentum(layers: list[keras.layers.BatchNormalization]) -> Iterator[None]:
    """In the `with`, the moving statistics become those of the last batch."""
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _on_tensorflow(model, variables):
    strategy = tf.distribute.get_strategy()

    def replica(images):
        model(images, training=True)
        return [tf.convert_to_tensor(variable.value) for variable in variables]

    @tf.function(autograph=False, reduce_retracing=True)
    def of_batch(images):
        values = strategy.run(replica, (images,))  # each device computes the whole batch
        return [strategy.experimental_local_results(value)[0] for value in values]

    return of_batch


def _on_jax(model, variables):
    import jax

    places = [next(i for i, one in enumerate(model.non_trainable_variables) if one is own) for own in variables]

    @jax.jit
    def of_batch(trained, others, images):
        _, others = model.stateless_call(trained, others, images, training=True)
        return [others[place] for place in places]

    def of_images(images):
        state = [[variable.value for variable in group]
                 for group in (model.trainable_variables, model.non_trainable_variables)]  # fmt: skip
        return of_batch(*state, np.asarray(images))

    return of_images

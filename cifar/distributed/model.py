"""A model that several devices train together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from cifar.distributed import replicas
from cifar.distributed.shard import Shard

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if ON_TENSORFLOW:
    import tensorflow as tf
else:
    import jax

Trim = Callable[[Any], Any]


class DistributedModel(keras.Model):
    """`model`, whose layers and weights it shares, on batches of which all devices get equally many rows.

    A partial batch is padded (see `Shard`). Each device trims its padding before it computes, so that loss, gradients
    and statistics are those of the batch. `train` and `test` are (images, batch size).
    """

    def __init__(self, model: keras.Model, shard: Shard, train: tuple[int, int], test: tuple[int, int]):
        super().__init__(model.inputs, model.outputs, name=model.name)
        trim = _trim_on_tensorflow if ON_TENSORFLOW else _trim_on_jax
        self._trim_train, self._trim_test = trim(shard, *train), trim(shard, *test)

    def train_step(self, *arguments):
        *state, data = arguments  # JAX's state of all variables, or nothing on TensorFlow, and the batch
        return super().train_step(*state, self._trim_train(data))

    def test_step(self, *arguments):
        *state, data = arguments
        return super().test_step(*state, self._trim_test(data))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if ON_TENSORFLOW:
            y_pred = replicas.weighted_gradient(y_pred)
        return super().compute_loss(x, y, y_pred, sample_weight, training)


def _trim_on_jax(shard: Shard, images: int, batch_size: int) -> Trim:
    padded = shard.filled(images % batch_size, batch_size)
    places = shard.places(images % batch_size, batch_size)
    return lambda data: jax.tree.map(lambda x: x[places] if len(x) == padded else x, data)


def _trim_on_tensorflow(shard: Shard, images: int, batch_size: int) -> Trim:
    padded = shard.filled(images % batch_size, batch_size) // shard.devices
    sizes = shard.sizes(images % batch_size)

    def trim(data):
        rows = tf.shape(tf.nest.flatten(data)[0], tf.int64)[0]
        own = tf.gather(sizes, tf.distribute.get_replica_context().replica_id_in_sync_group)
        kept = tf.where(rows == padded, own, rows)
        return tf.nest.map_structure(lambda x: x[:kept], data)

    return trim

"""Batches that mirrored replicas share: rows of a replica, and the exact gradient of the whole batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar.runtime.lazy import keras, tf

if TYPE_CHECKING:

    import tensorflow



def replica_rows(x: tensorflow.Tensor) -> tuple[tensorflow.Tensor, tensorflow.Tensor, tensorflow.Tensor]:
    """Where in the batch that mirrored replicas share the part `x` of this one is: first row, rows, rows of all."""
    own, context = tf.shape(x, tf.int64)[0], tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tf.zeros([], tf.int64), own, own
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
    return tf.cast(context.replica_id_in_sync_group, tf.int64) * total // context.num_replicas_in_sync, own, total

def exact(loss: keras.losses.Loss) -> keras.losses.Loss:
    """`loss` with the gradient of the whole batch, also where the mirrored strategy splits it into unequal parts.

    Keras takes the mean of the replicas' mean losses; a replica's share of the gradient is that of its rows instead.
    """
    mean = loss.call

    def call(y_true, y_pred):
        _, own, total = replica_rows(y_pred)
        weight = tf.cast(own * tf.distribute.get_strategy().num_replicas_in_sync / total, y_pred.dtype)
        weighted = tf.custom_gradient(lambda x: (tf.identity(x), lambda upstream: upstream * weight))
        return mean(y_true, weighted(y_pred))

    loss.call = call
    return loss

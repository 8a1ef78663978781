"""Batches that mirrored replicas share: the rows of a replica, and its share of the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar.runtime.lazy import tf

if TYPE_CHECKING:
    import tensorflow


def replica_rows(x: tensorflow.Tensor) -> tuple[tensorflow.Tensor, tensorflow.Tensor, tensorflow.Tensor]:
    """Where in the batch that mirrored replicas share the part `x` of this one is: first row, rows, rows of all."""
    own, context = tf.shape(x, tf.int64)[0], tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tf.zeros([], tf.int64), own, own
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
    return tf.cast(context.replica_id_in_sync_group, tf.int64) * total // context.num_replicas_in_sync, own, total


def weighted_gradient(y_pred: tensorflow.Tensor) -> tensorflow.Tensor:
    """`y_pred` itself, whose gradient is weighted by this replica's share of the rows of the batch.

    Keras takes the mean of the replicas' mean losses. That is the mean of the batch only where all have equally many
    rows.
    """
    _, own, total = replica_rows(y_pred)
    weight = tf.cast(own * tf.distribute.get_strategy().num_replicas_in_sync / total, y_pred.dtype)
    return tf.custom_gradient(lambda x: (tf.identity(x), lambda upstream: upstream * weight))(y_pred)

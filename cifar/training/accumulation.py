"""Gradient accumulation: a batch is computed in parts, one after the other, and updates the weights once.

A step of Keras stays an update of the weights, so that learning rates, averages of weights, checkpoints and the order
of the images are those of the whole batch. The optimizers' `gradient_accumulation_steps` would make each part a step.
"""

from __future__ import annotations

import keras

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if ON_TENSORFLOW:
    import tensorflow as tf
else:
    import jax


class AccumulatingModel(keras.Model):
    """`model`, whose layers and weights it shares, trained with micro-batches of at most `size` images.

    The gradient of a batch is the mean of those of its micro-batches, weighted by their numbers of images. Batch
    normalization has the statistics of a micro-batch, and dropout draws again in each. Only the activations of one
    micro-batch are in memory at a time.
    """

    def __init__(self, model: keras.Model, size: int):
        super().__init__(model.input, model.output, name=model.name)
        self._size = size

    def train_step(self, *arguments):
        return (_step_on_tensorflow if ON_TENSORFLOW else _step_on_jax)(self, self._size, *arguments)

    def update_metrics(self, x, y, outputs, loss) -> None:
        """Add a micro-batch to the loss and the metrics of the epoch."""
        (tracker,) = (metric for metric in self.metrics if metric.name == "loss")
        tracker.update_state(loss, sample_weight=keras.ops.shape(x)[0])
        self.compute_metrics(x, y, outputs)


def _step_on_tensorflow(model, size, data):
    images, targets, _ = keras.utils.unpack_x_y_sample_weight(data)
    rows, weights = tf.shape(images)[0], model.trainable_weights

    def micro_batch(first, *sums):
        x, y = images[first : first + size], targets[first : first + size]
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = model.compute_loss(x, y, outputs, training=True)
            scaled = model.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        model.update_metrics(x, y, outputs, loss)
        share = tf.shape(x)[0] / rows
        return first + size, *(total + tf.cast(share, one.dtype) * one
                               for total, one in zip(sums, gradients, strict=True))  # fmt: skip

    zeros = [tf.zeros(weight.shape, weight.dtype) for weight in weights]
    _, *gradients = tf.while_loop(
        lambda first, *_: first < rows, micro_batch, (tf.constant(0), *zeros), parallel_iterations=1
    )
    model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
    return model.get_metrics_result()


def _step_on_jax(model, size, state, data):
    trained, others, optimizer, metrics = state
    images, targets, _ = keras.utils.unpack_x_y_sample_weight(data)
    rows = len(images)
    gradient = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)

    def micro_batch(x, y, others, metrics, sums):
        (_, (loss, outputs, others, metrics)), gradients = gradient(
            trained, others, metrics, x, y, None, training=True, optimizer_variables=optimizer
        )
        with _scope(model, metrics) as scope:
            model.update_metrics(x, y, outputs, loss)
        metrics = [scope.get_current_value(variable) for variable in model.metrics_variables]
        sums = [total + len(x) / rows * one for total, one in zip(sums, gradients, strict=True)]
        return others, metrics, sums

    def whole_micro_batch(number, values):
        x, y = (jax.lax.dynamic_slice_in_dim(part, number * size, size) for part in (images, targets))
        return micro_batch(x, y, *values)

    values = others, metrics, [jax.numpy.zeros_like(weight) for weight in trained]
    whole, rest = divmod(rows, size)  # all of a loop of JAX has one shape
    if whole:
        values = jax.lax.fori_loop(0, whole, whole_micro_batch, values)
    if rest:
        values = micro_batch(images[-rest:], targets[-rest:], *values)
    others, metrics, gradients = values
    trained, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trained)
    with _scope(model, metrics):
        logs = model.get_metrics_result()
    return logs, (trained, others, optimizer, metrics)


def _scope(model, metrics):
    """Inside the `with`, the metrics of the model have these values."""
    return keras.StatelessScope(state_mapping=list(zip(model.metrics_variables, metrics, strict=True)))

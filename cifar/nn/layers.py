"""Faster versions of Keras layers.

Each is a subclass of the Keras layer of the same name with the same settings, variables and results, so that weights
are interchangeable; `portable` converts a model to Keras's own layers. A fast path is one branch, for TensorFlow or for
XLA; all other cases use Keras's implementation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
from keras import ops

from cifar.distributed import replicas

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = None


@keras.saving.register_keras_serializable("cifar")
class Conv2D(keras.layers.Conv2D):
    """Convolution that computes the bias's gradient separately.

    TensorFlow on CPUs fuses the gradients of a kernel and of a bias added by `BiasAdd`; with oneDNN and float32, this
    takes 1.2 to 2.3 times as long as both separately. A plain addition is fused in the forward pass only.
    """

    def call(self, inputs):
        if tf is None or not self.use_bias or self.data_format != "channels_last":
            return super().call(inputs)
        x = self.convolution_op(inputs, self.kernel) + ops.convert_to_tensor(self.bias)
        return x if self.activation is None else self.activation(x)


@keras.saving.register_keras_serializable("cifar")
class Activation(keras.layers.Activation):
    """Activation with a fused GELU (Hendrycks & Gimpel 2016, arXiv:1606.08415).

    TensorFlow's GELU and its gradient make a dozen passes over memory, with 2.7 times the CPU time.
    """

    def call(self, inputs):
        if tf is None or self.activation is not keras.activations.gelu:
            return super().call(inputs)
        return _gelu(inputs)


@keras.saving.register_keras_serializable("cifar")
class MaxPooling2D(keras.layers.MaxPooling2D):
    """Max pooling with an elementwise gradient under XLA.

    XLA implements the gradient of its max pooling as a scatter: a loop on CPUs, 19 times slower in float32, and slow on
    GPUs if it must be deterministic (jax#17844). TensorFlow without XLA has an operation for it.
    """

    def call(self, inputs):
        without_xla = tf is not None and not tf.config.list_physical_devices("GPU")
        if without_xla or self.data_format != "channels_last" or None in inputs.shape[1:]:
            return super().call(inputs)
        rows, columns = map(self._positions, (1, 2), inputs.shape[1:3])
        margins = [self._margins(axis, inputs.shape[axis]) for axis in (1, 2)]
        x = ops.pad(inputs, [(0, 0), *margins, (0, 0)], constant_values=-math.inf) if any(map(any, margins)) else inputs
        greatest, *others = [x[:, row, column] for row in rows for column in columns]
        for other in others:  # of equals, the first has the gradient
            greatest = ops.where(ops.logical_or(other > greatest, ops.isnan(other)), other, greatest)
        return greatest

    def _margins(self, axis: int, size: int) -> tuple[int, int]:
        """How many pixels are added before and behind an axis of `size` pixels."""
        if self.padding == "valid":
            return 0, 0
        pool, stride = self.pool_size[axis - 1], self.strides[axis - 1]
        added = max((-(-size // stride) - 1) * stride + pool - size, 0)
        return added // 2, added - added // 2

    def _positions(self, axis: int, size: int) -> list[slice]:
        """For each pixel of a window, where it is in all windows along an axis of `size` pixels."""
        pool, stride = self.pool_size[axis - 1], self.strides[axis - 1]
        windows = (size + sum(self._margins(axis, size)) - pool) // stride + 1
        return [slice(first, first + stride * (windows - 1) + 1, stride) for first in range(pool)]


@keras.saving.register_keras_serializable("cifar")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization (Ioffe & Szegedy 2015, arXiv:1502.03167) by TensorFlow's fused operation.

    For images `(batch, height, width, channels)` in float32, bfloat16 or float16, with statistics in float32; a mask,
    another axis or rank, renormalization and synchronization use Keras's implementation. If replicas share a batch,
    statistics are synchronized.
    """

    def build(self, input_shape):
        super().build(input_shape)
        self.synchronized |= tf is not None and tf.distribute.get_strategy().num_replicas_in_sync > 1

    def call(self, inputs, training=None, mask=None):
        if not self._is_fusible(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        use_batch = bool(training and self.trainable)
        empty = tf.zeros([0])
        x, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=ops.convert_to_tensor(self.gamma) if self.scale else tf.ones([channels]),
            offset=ops.convert_to_tensor(self.beta) if self.center else tf.zeros([channels]),
            mean=empty if use_batch else ops.convert_to_tensor(self.moving_mean),
            variance=empty if use_batch else ops.convert_to_tensor(self.moving_variance),
            epsilon=self.epsilon,
            is_training=use_batch,
        )
        if use_batch:
            # The operation returns the unbiased variance (divided by count - 1); Keras averages the biased one.
            count = tf.cast(tf.size(inputs) // channels, tf.float32)
            variance *= (count - 1) / count
            for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return x

    def _is_fusible(self, inputs, mask) -> bool:
        return (
            tf is not None
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and not self.renorm
            and not self.synchronized
            and self.epsilon >= 1.001e-5  # cuDNN's minimum
            and self.variable_dtype == "float32"
            and keras.backend.standardize_dtype(inputs.dtype) == self.compute_dtype
            and self.compute_dtype in ("float32", "bfloat16", "float16")
        )


@keras.saving.register_keras_serializable("cifar")
class Dropout(keras.layers.Dropout):
    """Inverted dropout (Srivastava et al. 2014, JMLR 15) from random bytes.

    A unit is dropped if a random integer is below `rate` of its range: one byte per unit if `rate` is a multiple of
    1/256, else 32 bits. The state of the generator is among `model.variables`; its numbers do not depend on the number
    of threads or replicas. The noise shape `(None, 1, 1, 1)` drops whole images, for stochastic depth; any other noise
    shape uses Keras's implementation.
    """

    def call(self, inputs, training=False):
        whole = (None, *[1] * (len(inputs.shape) - 1))
        if tf is None or not training or not 0 < self.rate < 1 or self.noise_shape not in (None, whole):
            return super().call(inputs, training=training)
        unit = tf.uint8 if (self.rate * 2**8).is_integer() else tf.uint32
        shape = tf.shape(inputs) if self.noise_shape is None else (tf.shape(inputs)[0], *whole[1:])
        units = tf.reshape(self._random_units(unit, inputs, tf.reduce_prod(tf.cast(shape, tf.int64))), shape)
        kept = units >= tf.constant(int(self.rate * 2 ** (8 * unit.size)), unit)
        return inputs * (tf.cast(kept, inputs.dtype) * tf.cast(1 / (1 - self.rate), inputs.dtype))

    def _random_units(self, unit, inputs, size):
        """Return `size` random integers for `inputs`, from the position of its rows in the global batch."""
        first_row, rows, _ = replicas.replica_rows(inputs)
        skipped = first_row * (size // tf.maximum(rows, 1)) * unit.size
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
        # Philox returns 16 bytes per counter value, with random access.
        blocks, rest = skipped // 16, skipped % 16 // unit.size
        words = tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=[-(-(rest + size) * unit.size // 4)],
            key=key,
            counter=counter + tf.cast(tf.stack([blocks, 0]), tf.uint64),
            alg=1,
            dtype=tf.uint32,
        )
        return tf.reshape(tf.bitcast(words, unit), [-1])[rest : rest + size]


if tf is not None:

    @tf.custom_gradient
    def _gelu(x):
        return _gelu_forward(x), lambda upstream: _gelu_backward(x, upstream)

    @tf.function(autograph=False, jit_compile=True)
    def _gelu_forward(x):
        single = tf.cast(x, tf.float32)
        return tf.cast(single * _normal_cdf(single), x.dtype)

    @tf.function(autograph=False, jit_compile=True)
    def _gelu_backward(x, upstream):
        single = tf.cast(x, tf.float32)
        density = tf.exp(-0.5 * single * single) * (1 / math.sqrt(2 * math.pi))
        return tf.cast(tf.cast(upstream, tf.float32) * (_normal_cdf(single) + single * density), x.dtype)

    def _normal_cdf(x):
        return 0.5 + 0.5 * tf.math.erf(x * (1 / math.sqrt(2)))


def portable(model: keras.Model) -> keras.Model:
    """Copy a functional `model` with Keras's own layers and the same weights, so that it loads without this project.

    The copy is not compiled, since losses and schedules may be this project's.
    """

    def stock(layer):
        is_ours = type(layer).__module__ == __name__
        return (type(layer).__base__ if is_ours else type(layer)).from_config(layer.get_config())

    return copied(keras.Model(model.input, model.output, name=model.name), stock)


def copied(model: keras.Model, clone: Callable[[keras.layers.Layer], keras.layers.Layer]) -> keras.Model:
    """Copy a functional `model` with its layers mapped by `clone`, and the same weights."""
    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # computes its constants from the weights
    return copy


@contextmanager
def unregistered() -> Iterator[None]:
    """Hide registered custom layers from Keras inside the `with`, since MLflow pickles all of them with any model."""
    registered = keras.saving.get_custom_objects()
    others = dict(registered)
    registered.clear()
    try:
        yield
    finally:
        registered.update(others)

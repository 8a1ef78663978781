"""Explanation of a classifier's answer by Grad-CAM."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

MAP_SIDE = 7
"""Minimum side of the feature maps used: that of the last ones of networks for ImageNet."""

Asked = tuple[np.ndarray, int]
"""An image (height, width, channels), and the index of the class to explain."""


def explainer(network: keras.Model) -> Callable[[Sequence[Sequence[Asked]]], list[np.ndarray]]:
    """Return the `compute` of a `Batcher`: heat maps (n, rows, columns) of each request. Already traced."""
    function = grad_cam(network)

    def compute(requests: Sequence[Sequence[Asked]]) -> list[np.ndarray]:
        images, classes = zip(*itertools.chain.from_iterable(requests), strict=True)
        heat = function(tf.constant(np.stack(images)), tf.constant(classes)).numpy()
        return np.split(heat, list(itertools.accumulate(map(len, requests)))[:-1])

    compute([[(np.zeros(network.input.shape[1:], np.uint8), 0)]])  # the first call is slow
    return compute


def grad_cam(network: keras.Model) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return a function of images (n, height, width, channels) and classes (n,) int32 to heat (n, rows, columns).

    Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): the sum of a late layer's feature maps, weighted by the mean
    gradients of the class's logit, without negative values. The scale is that of the image's most probable class: 1 is
    the maximum of its heat, or of the class's own if that is greater.
    """
    head = network.get_layer("probabilities")
    parts = keras.Model(network.input, [_maps(network), head.input, head.output])

    @tf.function(
        input_signature=[tf.TensorSpec(network.input.shape, tf.uint8), tf.TensorSpec((None,), tf.int32)],
        autograph=False,
    )
    def heat(images, classes):
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
            for variable in network.weights:  # including frozen ones
                tape.watch(variable.value)
            maps, features, probabilities = parts(images, training=False)
            best = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
            scores = [_score(features, head.kernel, chosen) for chosen in (classes, best)]
        asked, strongest = (_heat(tape.gradient(score, maps), tf.cast(maps, tf.float32)) for score in scores)
        most = tf.maximum(*(tf.reduce_max(heat, axis=(1, 2), keepdims=True) for heat in (asked, strongest)))
        return tf.math.divide_no_nan(asked, most)

    return heat.get_concrete_function()


def _score(features: tf.Tensor, kernel: tf.Variable, classes: tf.Tensor) -> tf.Tensor:
    """Sum the logits of these classes (n,), without their biases."""
    kernels = tf.gather(tf.transpose(kernel), classes)
    return tf.reduce_sum(tf.cast(features, kernels.dtype) * kernels)


def _heat(gradients: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
    weights = tf.reduce_mean(tf.cast(gradients, tf.float32), axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1))


def _maps(network: keras.Model) -> keras.KerasTensor:
    """Return the feature maps of the last layer with at least `MAP_SIDE` pixels a side, or half of a small image's."""
    least = min(MAP_SIDE, *(side // 2 for side in network.input.shape[1:3]))
    return next(
        layer.output
        for layer in reversed(network.layers)
        if len(layer.output.shape) == 4 and min(layer.output.shape[1:3]) >= least
    )

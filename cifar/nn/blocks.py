"""What several families are made of."""

from __future__ import annotations

from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras


def image_input(image_shape: tuple[int, int, int]) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input, uint8 images (n, height, width, channels), and what a network is to see of it.

    That has a mean of about 0 and a variance of about 1, as the pixels of photographs have a mean of about 0.5 and a
    standard deviation of about 0.25 of their range (CIFAR-10: 0.47 and 0.25).
    """
    image = keras.Input(image_shape, dtype="uint8", name="image")
    return image, keras.layers.Rescaling(4 / 255, offset=-2.0)(image)


def check_halvings(image_shape: tuple[int, int, int], halvings: int, setting: str) -> None:
    """Raises `InputError`, which names `setting`, where images are too small to be halved so often, rounding up."""
    height, width, _ = image_shape
    least = 2 ** (halvings - 1)
    if min(height, width) < least:
        raise InputError(
            f"{setting}: halves images {halvings} times; should be used on images of {least}×{least} or "
            f"more, not of {height}×{width}"
        )


def convolution(x: keras.KerasTensor, filters: int, kernel_size: int = 3, strides: int = 1) -> keras.KerasTensor:
    """Convolution that a normalization follows, hence without bias; initial weights after He et al. 2015."""
    from cifar.nn import layers

    return layers.Conv2D(filters, kernel_size, strides, "same", use_bias=False, kernel_initializer="he_normal")(x)


def normalized(x: keras.KerasTensor, activation: str = "linear") -> keras.KerasTensor:
    """Batch normalization whose averages follow within 10 batches, as is usual on CIFAR-10, and an activation."""
    from cifar.nn import layers

    x = layers.BatchNormalization(momentum=0.9, epsilon=1.001e-5)(x)
    return x if activation == "linear" else layers.Activation(activation)(x)


def depthwise(x: keras.KerasTensor, kernel_size: int, strides: int = 1, use_bias: bool = False) -> keras.KerasTensor:
    """A convolution of each channel by itself; initial weights after He et al. 2015."""
    # Keras counts the inputs of all channels as those of one; the outputs of one are as many as its inputs.
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out")
    return keras.layers.DepthwiseConv2D(
        kernel_size, strides, "same", use_bias=use_bias, depthwise_initializer=initializer
    )(x)


def drop_path(x: keras.KerasTensor, rate: float) -> keras.KerasTensor:
    """Stochastic depth: a residual branch that this share of the images leaves out, scaled up for the others.

    Huang et al. 2016, arXiv:1603.09382, who scale it down at inference instead.
    """
    from cifar.nn import layers

    return layers.Dropout(rate, noise_shape=(None, *[1] * (len(x.shape) - 1)))(x) if rate else x

"""Blocks that models and tasks are made of: Keras tensors in, Keras tensors out."""

from __future__ import annotations

from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras


def image_input(image_shape: tuple[int, int, int]) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the input, uint8 images (n, height, width, channels), and the rescaled input."""
    image = keras.Input(image_shape, dtype="uint8", name="image")
    return image, rescaled(image)


def rescaled(image: keras.KerasTensor) -> keras.KerasTensor:
    """Rescale pixels from 0 to 255 to a mean of about 0 and a variance of about 1.

    The pixels of photographs have a mean of about 0.5 and a standard deviation of about 0.25 of their range
    (CIFAR-10: 0.47 and 0.25).
    """
    return keras.layers.Rescaling(4 / 255, offset=-2.0)(image)


def check_halvings(image_shape: tuple[int, int, int], halvings: int, setting: str) -> None:
    """Raise `InputError` naming `setting` if images are too small for a number of halvings, rounded up."""
    height, width, _ = image_shape
    least = 2 ** (halvings - 1)
    if min(height, width) < least:
        raise InputError(
            f"{setting}: halves images {halvings} times; should be used with images of at least {least}×{least}, "
            f"not {height}×{width}"
        )


def convolution_block(
    x: keras.KerasTensor, filters: int, kernel_size: int = 3, strides: int = 1, activation: str = "relu"
) -> keras.KerasTensor:
    """Convolution, batch normalization, activation."""
    return normalized(convolution(x, filters, kernel_size, strides), activation)


def convolution(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int = 3,
    strides: int = 1,
    *,
    use_bias: bool = False,
    activation: str = "linear",
) -> keras.KerasTensor:
    """Convolution, by default without bias, for a following normalization; weights initialized after He et al. 2015."""
    from cifar.nn import layers

    return layers.Conv2D(
        filters,
        kernel_size,
        strides,
        "same",
        use_bias=use_bias,
        activation=activation,
        kernel_initializer="he_normal",
    )(x)


def depthwise(
    x: keras.KerasTensor, kernel_size: int, strides: int = 1, *, use_bias: bool = False, dilation_rate: int = 1
) -> keras.KerasTensor:
    """Depthwise convolution; weights initialized after He et al. 2015."""
    # Keras counts the inputs of all channels as fan-in; a channel's fan-out equals its real fan-in.
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out")
    return keras.layers.DepthwiseConv2D(
        kernel_size,
        strides,
        "same",
        dilation_rate=dilation_rate,
        use_bias=use_bias,
        depthwise_initializer=initializer,
    )(x)


def normalized(x: keras.KerasTensor, activation: str = "linear") -> keras.KerasTensor:
    """Batch normalization with momentum 0.9, as is usual for CIFAR-10, and an activation."""
    from cifar.nn import layers

    x = layers.BatchNormalization(momentum=0.9, epsilon=1.001e-5)(x)
    return x if activation == "linear" else activated(x, activation)


def activated(x: keras.KerasTensor, activation: str) -> keras.KerasTensor:
    from cifar.nn import layers

    return layers.Activation(activation)(x)


def max_pooling(x: keras.KerasTensor, size: int = 2, strides: int = 2) -> keras.KerasTensor:
    """Pooling that halves, rounding up."""
    from cifar.nn import layers

    return layers.MaxPooling2D(size, strides, "same")(x)


def dropout(rate: float) -> keras.Layer:
    """A layer, not what it makes of a tensor: its seed is drawn when it is created, before what stands in its call."""
    from cifar.nn import layers

    return layers.Dropout(rate)


def drop_path(x: keras.KerasTensor, rate: float) -> keras.KerasTensor:
    """Stochastic depth: drop a residual branch for a share of images, and scale it up for the others.

    Huang et al. 2016, arXiv:1603.09382, scale it down at inference instead.
    """
    from cifar.nn import layers

    return layers.Dropout(rate, noise_shape=(None, *[1] * (len(x.shape) - 1)))(x) if rate else x

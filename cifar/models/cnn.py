"""Plain convolutional networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cifar.config.registry import MODELS
from cifar.config.schema import PositiveInt, Rate, Strict
from cifar.nn.blocks import activated, check_halvings, convolution, convolution_block, dropout, image_input, max_pooling
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras


class Block(Strict):
    """`repeat` convolutions, each with normalization and activation, then pooling of stride 2, and dropout."""

    filters: PositiveInt
    kernel_size: PositiveInt = 3
    repeat: PositiveInt = 1
    normalization: Literal["batch", "none"] = "batch"
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu"] = "relu"
    pool: Literal["max", "average", "none"] = "none"
    dropout: Rate = 0.0


@MODELS.register
def cnn(image_shape: tuple[int, int, int], *, blocks: Annotated[list[Block], Field(min_length=1)]) -> keras.Model:
    """A network of the given blocks; returns the last feature map of each size.

    Weights are initialized after He et al. 2015, arXiv:1502.01852. Raises `InputError` if the image is too small.
    """
    level = 0
    check_halvings(image_shape, sum(block.pool != "none" for block in blocks), "model.blocks")
    image, x = image_input(image_shape)
    features = {}
    for block in blocks:
        for _ in range(block.repeat):
            x = _convolved(x, block)
        if block.pool != "none":
            x = max_pooling(x) if block.pool == "max" else keras.layers.AveragePooling2D(2, padding="same")(x)
            level += 1
        x = dropout(block.dropout)(x)
        features[f"P{level}"] = x
    return keras.Model(image, features, name="cnn")


def _convolved(x: keras.KerasTensor, block: Block) -> keras.KerasTensor:
    if block.normalization == "batch":
        return convolution_block(x, block.filters, block.kernel_size, activation=block.activation)
    return activated(convolution(x, block.filters, block.kernel_size, use_bias=True), block.activation)


@MODELS.register
def cnn3(
    image_shape: tuple[int, int, int],
    *,
    filters: Annotated[list[PositiveInt], Field(min_length=1)],
    kernel_size: PositiveInt,
    dropout: Rate,
) -> keras.Model:
    """Blocks of convolution, ReLU, batch normalization, max pooling and dropout, as many as `filters` has entries.

    Takes uint8 images `(batch, height, width, channels)`; block n returns the feature map "Pn", of stride 2ⁿ and with
    `filters[n - 1]` channels. Raises `InputError` if the image is too small for the number of blocks.
    """
    from cifar.nn import layers

    height, width, _ = image_shape
    most = min(height, width).bit_length() - 1
    if len(filters) > most:
        raise InputError(f"model.filters={filters}: should have at most {most} entries for images of {height}×{width}")
    image = keras.Input(image_shape, dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    features = {}
    for n, channels in enumerate(filters, start=1):
        x = layers.Conv2D(channels, kernel_size, padding="same", activation="relu")(x)
        x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D()(x)
        x = layers.Dropout(dropout)(x)
        features[f"P{n}"] = x
    return keras.Model(image, features, name="cnn3")

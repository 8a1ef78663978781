"""Plain networks of 3×3 convolutions from the literature."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cifar.config.registry import MODELS
from cifar.config.schema import PositiveInt, Rate
from cifar.nn import blocks
from cifar.nn.blocks import check_halvings, convolution, convolution_block, image_input
from cifar.runtime.lazy import keras

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Number of convolutions before each pooling in the networks A, B, D and E of Simonyan & Zisserman, by depth."""


@MODELS.register
def vgg(
    image_shape: tuple[int, int, int],
    *,
    depth: Literal[11, 13, 16, 19],
    filters: Annotated[list[PositiveInt], Field(min_length=5, max_length=5)],
) -> keras.Model:
    """VGG (Simonyan & Zisserman 2015, arXiv:1409.1556) with batch normalization.

    Each entry of `filters` is a group of convolutions and a pooling of stride 2. Instead of three dense layers, the
    version for CIFAR-10 has two of at most 512 units (Liu & Deng 2015, doi:10.1109/ACPR.2015.7486599).
    """
    check_halvings(image_shape, len(filters), f"model.filters={filters}")
    image, x = image_input(image_shape)
    features = {}
    for level, (channels, repeats) in enumerate(zip(filters, CONVOLUTIONS[depth], strict=True), start=1):
        for _ in range(repeats):
            x = convolution_block(x, channels)
        features[f"P{level}"] = x = blocks.max_pooling(x)
    return keras.Model(image, features, name="vgg")


@MODELS.register
def all_conv(
    image_shape: tuple[int, int, int], *, filters: PositiveInt, input_dropout: Rate, dropout: Rate
) -> keras.Model:
    """All-CNN-C (Springenberg et al. 2014, arXiv:1412.6806), with strided convolutions instead of pooling.

    `filters` are doubled after the first downsampling; `dropout` follows each downsampling. The paper's last
    convolution, to the classes, is the classifier's dense layer; its 3×3 convolution without padding is padded here.
    """
    check_halvings(image_shape, 2, "model=all_conv")
    image, x = image_input(image_shape)
    x = blocks.dropout(input_dropout)(x)
    features = {}
    for level, channels in enumerate((filters, 2 * filters), start=1):
        for strides in (1, 1, 2):
            x = _active(x, channels, 3, strides)
        features[f"P{level}"] = x = blocks.dropout(dropout)(x)
    features["P2"] = _active(_active(x, 2 * filters, 3), 2 * filters, 1)
    return keras.Model(image, features, name="all_conv")


def _active(x: keras.KerasTensor, filters: int, kernel_size: int, strides: int = 1) -> keras.KerasTensor:
    return convolution(x, filters, kernel_size, strides, use_bias=True, activation="relu")

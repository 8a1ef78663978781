"""Networks of depthwise and pointwise convolutions."""

from __future__ import annotations

from typing import Literal

from cifar.config.registry import MODELS
from cifar.config.schema import PositiveFloat, PositiveInt
from cifar.nn.blocks import (
    activated,
    check_halvings,
    convolution,
    convolution_block,
    depthwise,
    image_input,
    normalized,
)
from cifar.runtime.lazy import keras

STAGES = ((64,), (128, 128), (256, 256), (512,) * 6, (1024, 1024))
"""Output channels of MobileNet's blocks; each stage but the first halves the image."""


@MODELS.register
def mobilenet(image_shape: tuple[int, int, int], *, width: PositiveFloat) -> keras.Model:
    """MobileNet (Howard et al. 2017, arXiv:1704.04861) with stride 1 in the first layer, as is usual for CIFAR-10.

    `width` multiplies the channels of all layers.
    """
    check_halvings(image_shape, len(STAGES) - 1, "model=mobilenet")
    image, x = image_input(image_shape)
    x = convolution_block(x, max(1, int(32 * width)))
    features = {}
    for level, stage in enumerate(STAGES):
        for n, channels in enumerate(stage):
            x = normalized(depthwise(x, 3, 2 if level and not n else 1), "relu")
            x = convolution_block(x, max(1, int(channels * width)), 1)
        features[f"P{level}"] = x
    return keras.Model(image, features, name="mobilenet")


@MODELS.register
def convmixer(
    image_shape: tuple[int, int, int],
    *,
    width: PositiveInt,
    depth: PositiveInt,
    kernel_size: PositiveInt,
    patch_size: Literal[1, 2, 4],
) -> keras.Model:
    """ConvMixer-width/depth (Trockman & Kolter 2022, arXiv:2201.09792): mixes positions, then channels, of patches."""
    level = patch_size.bit_length() - 1
    check_halvings(image_shape, level, f"model.patch_size={patch_size}")

    def ending(x):
        return normalized(activated(x, "gelu"))

    image, x = image_input(image_shape)
    x = ending(convolution(x, width, patch_size, patch_size, use_bias=True))
    for _ in range(depth):
        x = keras.layers.Add()([x, ending(depthwise(x, kernel_size, use_bias=True))])
        x = ending(convolution(x, width, 1, use_bias=True))
    return keras.Model(image, {f"P{level}": x}, name="convmixer")

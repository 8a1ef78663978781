"""Residual networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from cifar.config.registry import MODELS
from cifar.config.schema import PositiveInt, Rate
from cifar.models.attention import Attention, apply_attention
from cifar.nn import blocks
from cifar.nn.blocks import check_halvings, convolution, convolution_block, drop_path, image_input, normalized
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras

Shortcut = Literal["A", "B"]
Stages = Annotated[list[PositiveInt], Field(min_length=1)]


@MODELS.register
def resnet(
    image_shape: tuple[int, int, int],
    *,
    depth: PositiveInt,
    filters: Stages,
    shortcut: Shortcut,
    attention: Attention,
    stochastic_depth: Rate,
) -> keras.Model:
    """ResNet of `depth` weighted layers in its version for CIFAR-10 (He et al. 2016, arXiv:1512.03385).

    Each entry of `filters` is a stage of blocks of two convolutions; all stages but the first halve the image. Where
    the shape changes, shortcut A takes every other pixel and pads channels with zeros, B is a 1×1 convolution. The rate
    of stochastic depth grows linearly to `stochastic_depth` at the last block.
    """

    def block(x, channels, strides, dropped):
        residual = convolution_block(x, channels, strides=strides)
        residual = _ending(convolution_block(residual, channels, activation="linear"), attention, dropped)
        x = _shortcut(x, channels, strides, shortcut)
        return keras.layers.Activation("relu")(keras.layers.Add()([x, residual]))

    repeats = _repeats(depth, 2, filters)
    image, x = _image_input(image_shape, filters)
    x = convolution_block(x, filters[0])
    return keras.Model(image, _stages(x, block, filters, repeats, stochastic_depth), name="resnet")


@MODELS.register
def preact_resnet(
    image_shape: tuple[int, int, int],
    *,
    depth: PositiveInt,
    filters: Stages,
    attention: Attention,
    stochastic_depth: Rate,
) -> keras.Model:
    """Pre-activation ResNet, with normalization and activation before convolutions (He et al. 2016, arXiv:1603.05027).

    Settings as in `resnet`; shortcuts are 1×1 convolutions where the shape changes. All maps but the deepest are
    taken before normalization and activation.
    """
    repeats = _repeats(depth, 2, filters)
    image, x = _image_input(image_shape, filters)
    features = _preactivated(convolution(x, filters[0]), filters, repeats, 0.0, attention, stochastic_depth)
    return keras.Model(image, features, name="preact_resnet")


@MODELS.register
def wide_resnet(
    image_shape: tuple[int, int, int],
    *,
    depth: PositiveInt,
    width: PositiveInt,
    dropout: Rate,
    attention: Attention,
    stochastic_depth: Rate,
) -> keras.Model:
    """WRN-depth-width (Zagoruyko & Komodakis 2016, arXiv:1605.07146): pre-activated, `width` times as many channels.

    `dropout` is between the two convolutions of a block; the other settings are those of `resnet`.
    """
    filters = [16 * width, 32 * width, 64 * width]
    repeats = _repeats(depth, 4, filters)
    image, x = _image_input(image_shape, filters)
    features = _preactivated(convolution(x, 16), filters, repeats, dropout, attention, stochastic_depth)
    return keras.Model(image, features, name="wide_resnet")


def _image_input(image_shape: tuple[int, int, int], filters: list[int]) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    check_halvings(image_shape, len(filters) - 1, f"model.filters={filters}")
    return image_input(image_shape)


def _repeats(depth: int, apart: int, filters: list[int]) -> int:
    """Return the number of blocks per stage in a network of `depth` layers, of which `apart` are not in blocks."""
    repeats, rest = divmod(depth - apart, 2 * len(filters))
    if rest or not repeats:
        some = ", ".join(str(apart + 2 * len(filters) * n) for n in (1, 2, 3))
        raise InputError(f"model.depth={depth}: should be {some} … with {len(filters)} stages")
    return repeats


def _stages(
    x: keras.KerasTensor,
    block: Callable[[keras.KerasTensor, int, int, float], keras.KerasTensor],
    filters: list[int],
    repeats: int,
    dropped: float,
) -> dict[str, keras.KerasTensor]:
    """Build stages of `repeats` blocks, (x, channels, strides, rate of stochastic depth) -> x, as feature maps."""
    features = {}
    for stage, channels in enumerate(filters):
        for n in range(repeats):
            number = stage * repeats + n + 1
            x = block(x, channels, 2 if stage and not n else 1, dropped * number / (len(filters) * repeats))
        features[f"P{stage}"] = x
    return features


def _preactivated(
    x: keras.KerasTensor, filters: list[int], repeats: int, dropout: float, attention: Attention, dropped: float
) -> dict[str, keras.KerasTensor]:
    """Build stages of pre-activation blocks; the deepest map is normalized and activated."""

    def block(x, channels, strides, dropped):
        active = normalized(x, "relu")
        changes = strides > 1 or x.shape[-1] != channels
        residual = convolution_block(active, channels, strides=strides)
        residual = convolution(blocks.dropout(dropout)(residual), channels)
        x = convolution(active, channels, 1, strides) if changes else x
        return keras.layers.Add()([x, _ending(residual, attention, dropped)])

    features = _stages(x, block, filters, repeats, dropped)
    deepest = f"P{len(filters) - 1}"
    return features | {deepest: normalized(features[deepest], "relu")}


def _ending(residual: keras.KerasTensor, attention: Attention, dropped: float) -> keras.KerasTensor:
    return drop_path(apply_attention(residual, attention), dropped)


def _shortcut(x: keras.KerasTensor, channels: int, strides: int, kind: Shortcut) -> keras.KerasTensor:
    missing = channels - x.shape[-1]
    if strides == 1 and not missing:
        return x
    if kind == "B":
        return convolution_block(x, channels, 1, strides, "linear")
    if missing < 0:
        raise InputError("model.shortcut=A: should be B if a stage has fewer filters than the previous one")
    x = keras.layers.AveragePooling2D(1, strides)(x)
    return keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))

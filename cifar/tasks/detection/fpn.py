"""A feature pyramid network on any backbone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cifar.nn.blocks import convolution_block
from cifar.runtime.lazy import keras


def map_size(image_size: Sequence[int], level: int) -> tuple[int, int]:
    """Return (height, width) of a map of `level` n, stride 2ⁿ, for images of `image_size` (height, width)."""
    height, width = (-(-side // 2**level) for side in image_size)
    return height, width


def pyramid(backbone: keras.Model, levels: Sequence[int], channels: int) -> list[keras.KerasTensor]:
    """Return maps of the `levels`, (n, *map_size, channels) each (Lin et al. 2017, arXiv:1612.03144).

    With batch normalization. A top-down path starts at the backbone's deepest map; deeper levels are made by
    convolutions of stride 2, as in FCOS (Tian et al. 2019, arXiv:1904.01355).
    """
    size, backbone_maps = backbone.input.shape[1:3], _maps(backbone)
    deepest = max(backbone_maps)
    x, maps = None, {}
    for level in range(deepest, min(*levels, deepest) - 1, -1):
        if level in backbone_maps:
            lateral = convolution_block(backbone_maps[level], channels, 1, activation="linear")
            x = lateral if x is None else keras.layers.Add()([lateral, _doubled(x, map_size(size, level))])
        else:
            x = _doubled(x, map_size(size, level))
        maps[level] = x
    needed = {*levels, *([deepest] if deepest < max(levels) else [])}
    maps = {level: convolution_block(x, channels) for level, x in maps.items() if level in needed}
    for level in range(deepest + 1, max(levels) + 1):
        maps[level] = convolution_block(maps[level - 1], channels, strides=2)
    return [maps[level] for level in levels]


def _maps(backbone: keras.Model) -> dict[int, keras.KerasTensor]:
    """Return a backbone's maps by level, resized to the level's size.

    Sizes differ if the backbone resizes images or does not pad them: then the nearest level is used.
    """
    size, maps = backbone.input.shape[1:3], {}
    for name in sorted(backbone.output, key=lambda name: int(name[1:])):
        x, level = backbone.output[name], int(name[1:])
        if x.shape[1:3] != map_size(size, level):
            level = max(0, round(math.log2(size[0] / x.shape[1])))
            x = keras.ops.image.resize(x, map_size(size, level))
        maps[level] = x
    return maps


def _doubled(x: keras.KerasTensor, size: tuple[int, int]) -> keras.KerasTensor:
    """Upsample `x` by 2, cropped to `size`."""
    x = keras.layers.UpSampling2D()(x)
    return x if x.shape[1:3] == size else x[:, : size[0], : size[1]]

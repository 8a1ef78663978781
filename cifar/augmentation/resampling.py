"""Resampling of images and masks by affine matrices."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from cifar.interfaces import VOID
from cifar.runtime.lazy import tf

if TYPE_CHECKING:
    from tensorflow import Tensor

    from cifar.config.settings import FillMode


def resample(images: Tensor, matrix: Tensor, fill_mode: FillMode, size: tuple[int, int] | None = None) -> Tensor:
    """Resample `images` (n, height, width, channels) bilinearly by `matrix` (n, 3, 3); float32 of the same shape.

    With a smaller `size` (height, width), the result has it, and `matrix` is in its pixels. Where that is less than
    half, a pixel is the mean of several samples, at most two pixels of the image apart.

    Flips and whole-pixel shifts are exact. For the matrix see `Geometric`. Pixels outside an image are its edge pixel
    (`nearest`), its reflection (`reflect`: dcba|abcd|dcba), the image repeated (`wrap`) or black (`constant`).
    """
    return _resampler()(images, matrix, fill_mode, size or tuple(images.shape[1:3]))


def resample_mask(mask: Tensor, matrix: Tensor, fill_mode: FillMode) -> Tensor:
    """Resample `mask` uint8 (n, height, width) by `matrix` with nearest neighbor; uint8 of the same shape.

    Pixels outside are filled like those of the image, but with `VOID` for `constant`.
    """
    return _mask_resampler()(mask, matrix, fill_mode)


@functools.cache
def _resampler() -> Callable:
    # XLA fuses it into one loop: a fifth of the CPU time of ImageProjectiveTransformV3, or of these ops unfused.
    return tf.function(_resample, autograph=False, jit_compile=True)


@functools.cache
def _mask_resampler() -> Callable:
    return tf.function(_resample_mask, autograph=False, jit_compile=True)


def _resample(images: Tensor, matrix: Tensor, fill_mode: FillMode, size: tuple[int, int]) -> Tensor:
    height, width, channels = images.shape[1:]
    pixels = tf.reshape(images, [-1, channels])
    first = tf.range(tf.shape(images)[0])[:, None, None] * (height * width)
    samples = max(1, *(math.ceil(large / small / 2) for large, small in zip((height, width), size, strict=True)))
    offsets = [(sample + 0.5) / samples - 0.5 for sample in range(samples)]
    parts = []
    for down, across in itertools.product(offsets, offsets):
        column, row = _source_positions(matrix, size, (height, width), (down, across))
        columns, rows = _neighbors(column, width, fill_mode), _neighbors(row, height, fill_mode)
        parts += [
            (row_weight * column_weight)[..., None]
            * tf.cast(tf.gather(pixels, first + row * width + column), tf.float32)
            for row, row_weight in rows
            for column, column_weight in columns
        ]
    return tf.add_n(parts) / samples**2 if samples > 1 else tf.add_n(parts)


def _resample_mask(mask: Tensor, matrix: Tensor, fill_mode: FillMode) -> Tensor:
    height, width = mask.shape[1:]
    (column, column_weight), (row, row_weight) = (
        _fill(tf.cast(tf.floor(position + 0.5), tf.int32), tf.ones_like(position), size, fill_mode)
        for position, size in zip(_source_positions(matrix, (height, width)), (width, height), strict=True)
    )
    first = tf.range(tf.shape(mask)[0])[:, None, None] * (height * width)
    values = tf.gather(tf.reshape(mask, [-1]), first + row * width + column)
    return tf.where(row_weight * column_weight > 0, values, tf.constant(VOID, tf.uint8))


def _source_positions(
    matrix: Tensor,
    size: tuple[int, int],
    source: tuple[int, int] | None = None,
    offset: tuple[float, float] = (0, 0),
) -> tuple[Tensor, Tensor]:
    """Return the input column and row of each output pixel: two float32 (n, height, width).

    The output is of `size` (height, width), the input of the size `source`, by default the same. A position is `offset`
    (down, across) pixels of the output away from the center of its pixel.
    """
    (height, width), (rows, columns) = size, source or size
    y = tf.range(height, dtype=tf.float32)[:, None] - ((height - 1) / 2 - offset[0])
    x = tf.range(width, dtype=tf.float32)[None, :] - ((width - 1) / 2 - offset[1])
    (xx, xy, dx), (yx, yy, dy), _ = (tf.unstack(row[..., None, None], axis=1) for row in tf.unstack(matrix, axis=1))
    column, row = xx * x + xy * y + dx, yx * x + yy * y + dy
    if (rows, columns) != size:
        column, row = column * (columns / width), row * (rows / height)
    return column + (columns - 1) / 2, row + (rows - 1) / 2


def _neighbors(position: Tensor, size: int, fill_mode: FillMode) -> list[tuple[Tensor, Tensor]]:
    """Return the two pixels next to `position` on an axis of `size` pixels: [(index, weight), (index, weight)]."""
    below = tf.floor(position)
    weight = position - below
    index = tf.cast(below, tf.int32)
    return [_fill(index, 1 - weight, size, fill_mode), _fill(index + 1, weight, size, fill_mode)]


def _fill(index: Tensor, weight: Tensor, size: int, fill_mode: FillMode) -> tuple[Tensor, Tensor]:
    match fill_mode:
        case "reflect":
            index = index % (2 * size)
            index = tf.minimum(index, 2 * size - 1 - index)
        case "wrap":
            index = index % size
        case "constant":
            weight = tf.where((index >= 0) & (index < size), weight, 0.0)
    return tf.clip_by_value(index, 0, size - 1), weight

"""Seeing images through matrices."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from cifar.lazy import tf

if TYPE_CHECKING:
    from tensorflow import Tensor

    from cifar.config import FillMode


def resample(images: Tensor, matrix: Tensor, fill_mode: FillMode) -> Tensor:
    """`images` (n, height, width, channels) seen through `matrix` (n, 3, 3), bilinearly: float32 of the same shape.

    Flips and whole-pixel shifts are exact. For the matrix see `Geometric`. Outside an image lies its edge pixel
    (`nearest`), its mirror image (`reflect`: dcba|abcd|dcba), the image again (`wrap`) or black (`constant`).
    """
    return _resampler()(images, matrix, fill_mode)


@functools.cache
def _resampler() -> Callable:
    # XLA makes one loop of it: a fifth of the CPU time of ImageProjectiveTransformV3, or of these ops one by one.
    return tf.function(_resample, autograph=False, jit_compile=True)


def _resample(images: Tensor, matrix: Tensor, fill_mode: FillMode) -> Tensor:
    height, width, channels = images.shape[1:]
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    y = tf.range(height, dtype=tf.float32)[:, None] - middle_y
    x = tf.range(width, dtype=tf.float32)[None, :] - middle_x
    (xx, xy, dx), (yx, yy, dy), _ = (tf.unstack(row[..., None, None], axis=1) for row in tf.unstack(matrix, axis=1))
    columns = _neighbours(xx * x + xy * y + dx + middle_x, width, fill_mode)
    rows = _neighbours(yx * x + yy * y + dy + middle_y, height, fill_mode)

    pixels = tf.reshape(images, [-1, channels])
    first = tf.range(tf.shape(images)[0])[:, None, None] * (height * width)
    return tf.add_n([
        (row_weight * column_weight)[..., None] * tf.cast(tf.gather(pixels, first + row * width + column), tf.float32)
        for row, row_weight in rows for column, column_weight in columns
    ])


def _neighbours(place: Tensor, size: int, fill_mode: FillMode) -> list[tuple[Tensor, Tensor]]:
    """The two pixels around each `place` along an axis of `size` pixels: [(index, weight), (index, weight)]."""
    below = tf.floor(place)
    share = place - below
    index = tf.cast(below, tf.int32)
    return [_inside(index, 1 - share, size, fill_mode), _inside(index + 1, share, size, fill_mode)]


def _inside(index: Tensor, weight: Tensor, size: int, fill_mode: FillMode) -> tuple[Tensor, Tensor]:
    match fill_mode:
        case "reflect":
            index = index % (2 * size)
            index = tf.minimum(index, 2 * size - 1 - index)
        case "wrap":
            index = index % size
        case "constant":
            weight = tf.where((index >= 0) & (index < size), weight, 0.0)
    return tf.clip_by_value(index, 0, size - 1), weight

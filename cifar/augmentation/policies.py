"""Choices that pick one of many transforms for each image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cifar.augmentation import Draw, Geometric, Photometric
from cifar.augmentation.geometric import affine
from cifar.config.registry import AUGMENTATIONS
from cifar.runtime.lazy import tf

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorflow import Tensor

STRENGTHS = 31
"""How many strengths there are, none at all among them."""
MOVES = 5
"""Transforms that are geometric: slant along either axis, shift along either axis, turn. Their numbers come first."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray: ITU-R BT.601."""


@AUGMENTATIONS.register
def trivial_augment() -> tuple[Geometric, Photometric]:
    """One transform for each image, of a strength that is uniform too (Müller & Hutter 2021, arXiv:2103.10158).

    The transforms and their strengths are those of the paper's wide space. A shift goes up to 32 pixels, or the
    image's whole side where that is less.
    """
    return Geometric(_move), Photometric(_numbers, _recolor)


def _numbers(draw: Draw) -> Tensor:
    """float32 (n, 3): which transform, its strength from 0 to 1, and its direction, 1 or -1."""
    chosen, strength, side = tf.unstack(draw.uniform(0, 1, 3), axis=1)
    number = tf.floor(chosen * (MOVES + len(COLORS)))
    return tf.stack([number, tf.floor(strength * STRENGTHS) / (STRENGTHS - 1), tf.where(side < 0.5, -1.0, 1.0)], axis=1)


def _move(draw: Draw) -> Tensor:
    number, strength, side = tf.unstack(_numbers(draw), axis=1)
    height, width, _ = draw.shape
    signed = strength * side
    slant_x, slant_y, right, down, turn = (tf.where(number == move, signed, 0.0) for move in range(MOVES))
    sine, cosine = tf.sin(math.radians(135) * turn), tf.cos(math.radians(135) * turn)
    return affine(
        draw.count,
        xx=cosine,
        xy=0.99 * slant_x - sine,
        dx=min(width, 32) * right,
        yx=0.99 * slant_y + sine,
        yy=cosine,
        dy=min(height, 32) * down,
    )


def _recolor(numbers: Tensor, x: Tensor) -> Tensor:
    number, strength, side = tf.unstack(numbers, axis=1)
    group = tf.maximum(tf.cast(number, tf.int32) - MOVES, 0)
    everything = (x, strength[:, None, None, None], side[:, None, None, None], tf.range(tf.size(group)))
    images, strengths, sides, places = (tf.dynamic_partition(part, group, len(COLORS)) for part in everything)
    changed = [color(*own) for color, *own in zip(COLORS, images, strengths, sides, strict=True)]
    return tf.ensure_shape(tf.dynamic_stitch(places, changed), x.shape)


def _same(x: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    return x


def _brightness(x: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    return x * (1 + 0.99 * strength * side)


def _color(x: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    return _away_from(_gray(x), x, strength * side)


def _contrast(x: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    return _away_from(tf.reduce_mean(_gray(x), axis=[1, 2, 3], keepdims=True), x, strength * side)


def _sharpness(x: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    smooth = (9 * tf.nn.avg_pool2d(x, 3, 1, "VALID") + 4 * x[:, 1:-1, 1:-1]) / 13
    inner = _away_from(smooth, x[:, 1:-1, 1:-1], strength * side)
    columns = tf.concat([x[:, 1:-1, :1], inner, x[:, 1:-1, -1:]], axis=2)
    return tf.concat([x[:, :1], columns, x[:, -1:]], axis=1)


def _posterize(x: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    step = 2 ** tf.round(6 * strength)
    return tf.floor(_whole(x) / step) * step


def _solarize(x: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    return tf.where(x < 256 * (1 - strength), x, 255 - x)


def _autocontrast(x: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    x = _whole(x)
    low, high = tf.reduce_min(x, axis=[1, 2], keepdims=True), tf.reduce_max(x, axis=[1, 2], keepdims=True)
    return tf.where(high > low, (x - low) * 255 / tf.maximum(high - low, 1), x)


def _equalize(x: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    """Each channel's values spread so that they are about equally frequent, as Pillow does it."""
    pixels = tf.reshape(tf.cast(_whole(x), tf.int32), [-1, x.shape[1] * x.shape[2], x.shape[3]])
    histogram = tf.range(tf.shape(x)[0] * x.shape[3]) * 256
    places = tf.reshape(tf.transpose(pixels, [0, 2, 1]), [-1, pixels.shape[1]]) + histogram[:, None]
    counts = tf.reshape(tf.math.bincount(tf.reshape(places, [-1]), minlength=tf.size(histogram) * 256), [-1, 256])
    up_to = tf.cumsum(counts, axis=1)
    last = tf.reduce_max(tf.where(counts > 0, tf.range(256), 0), axis=1, keepdims=True)
    step = (pixels.shape[1] - tf.gather(counts, last, batch_dims=1)) // 255
    level = tf.minimum((up_to - counts + step // 2) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, level, tf.range(256))
    levels = tf.gather(tf.reshape(table, [-1]), places)
    channels_first = tf.reshape(levels, [-1, x.shape[3], x.shape[1], x.shape[2]])
    return tf.cast(tf.transpose(channels_first, [0, 2, 3, 1]), tf.float32)


COLORS: tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...] = (
    _same, _brightness, _color, _contrast, _sharpness, _posterize, _solarize, _autocontrast, _equalize,
)  # fmt: skip
"""Transforms that change colors, whose numbers follow, each (images, strength, direction) -> images."""


def _away_from(middle: Tensor, x: Tensor, share: Tensor) -> Tensor:
    return middle + (x - middle) * (1 + 0.99 * share)


def _gray(x: Tensor) -> Tensor:
    return x if x.shape[3] != 3 else tf.tensordot(x, tf.constant(LUMA), 1)[..., None]


def _whole(x: Tensor) -> Tensor:
    """Values as an image file could have them."""
    return tf.clip_by_value(tf.round(x), 0, 255)

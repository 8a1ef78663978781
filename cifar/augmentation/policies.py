"""Policies: one of many operations for each image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cifar.augmentation import BatchRandom, Geometric, Photometric
from cifar.augmentation.geometric import affine
from cifar.config.registry import AUGMENTATIONS
from cifar.runtime.lazy import tf

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorflow import Tensor

STRENGTHS = 31
"""Number of strengths, including 0."""
GEOMETRIC_COUNT = 5
"""Number of geometric operations: shear x, shear y, translate x, translate y, rotate. They are numbered first."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray: ITU-R BT.601."""


@AUGMENTATIONS.register
def trivial_augment() -> tuple[Geometric, Photometric]:
    """TrivialAugment: one uniform operation of uniform strength per image (Müller & Hutter 2021, arXiv:2103.10158).

    Operations and strengths are those of the paper's wide space. Translation is at most 32 pixels, or the image's sign
    if that is less.
    """
    return Geometric(_matrix), Photometric(_sample, _apply)


def _sample(rng: BatchRandom) -> Tensor:
    """float32 (n, 3): number of the operation, strength from 0 to 1, and sign, 1 or -1."""
    chosen, strength, sign = tf.unstack(rng.uniform(0, 1, 3), axis=1)
    number = tf.floor(chosen * (GEOMETRIC_COUNT + len(COLOR_OPERATIONS)))
    strength = tf.floor(strength * STRENGTHS) / (STRENGTHS - 1)
    return tf.stack([number, strength, tf.where(sign < 0.5, -1.0, 1.0)], axis=1)


def _matrix(rng: BatchRandom) -> Tensor:
    number, strength, sign = tf.unstack(_sample(rng), axis=1)
    height, width, _ = rng.shape
    signed = strength * sign
    shear_x, shear_y, right, down, turn = (tf.where(number == k, signed, 0.0) for k in range(GEOMETRIC_COUNT))
    sine, cosine = tf.sin(math.radians(135) * turn), tf.cos(math.radians(135) * turn)
    return affine(
        rng.count,
        xx=cosine,
        xy=0.99 * shear_x - sine,
        dx=min(width, 32) * right,
        yx=0.99 * shear_y + sine,
        yy=cosine,
        dy=min(height, 32) * down,
    )


def _apply(numbers: Tensor, x: Tensor) -> Tensor:
    number, strength, sign = tf.unstack(numbers, axis=1)
    group = tf.maximum(tf.cast(number, tf.int32) - GEOMETRIC_COUNT, 0)
    tensors = (x, strength[:, None, None, None], sign[:, None, None, None], tf.range(tf.size(group)))
    images, strengths, signs, rows = (tf.dynamic_partition(part, group, len(COLOR_OPERATIONS)) for part in tensors)
    changed = [
        operation(*inputs) for operation, *inputs in zip(COLOR_OPERATIONS, images, strengths, signs, strict=True)
    ]
    return tf.ensure_shape(tf.dynamic_stitch(rows, changed), x.shape)


def _identity(x: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return x


def _brightness(x: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return x * (1 + 0.99 * strength * sign)


def _color(x: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return _scale_difference(_gray(x), x, strength * sign)


def _contrast(x: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return _scale_difference(tf.reduce_mean(_gray(x), axis=[1, 2, 3], keepdims=True), x, strength * sign)


def _sharpness(x: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    smooth = (9 * tf.nn.avg_pool2d(x, 3, 1, "VALID") + 4 * x[:, 1:-1, 1:-1]) / 13
    inner = _scale_difference(smooth, x[:, 1:-1, 1:-1], strength * sign)
    columns = tf.concat([x[:, 1:-1, :1], inner, x[:, 1:-1, -1:]], axis=2)
    return tf.concat([x[:, :1], columns, x[:, -1:]], axis=1)


def _posterize(x: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    step = 2 ** tf.round(6 * strength)
    return tf.floor(_quantize(x) / step) * step


def _solarize(x: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return tf.where(x < 256 * (1 - strength), x, 255 - x)


def _autocontrast(x: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    x = _quantize(x)
    low, high = tf.reduce_min(x, axis=[1, 2], keepdims=True), tf.reduce_max(x, axis=[1, 2], keepdims=True)
    return tf.where(high > low, (x - low) * 255 / tf.maximum(high - low, 1), x)


def _equalize(x: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    """Equalize each channel's histogram, with Pillow's rounding."""
    pixels = tf.reshape(tf.cast(_quantize(x), tf.int32), [-1, x.shape[1] * x.shape[2], x.shape[3]])
    offset = tf.range(tf.shape(x)[0] * x.shape[3]) * 256
    index = tf.reshape(tf.transpose(pixels, [0, 2, 1]), [-1, pixels.shape[1]]) + offset[:, None]
    counts = tf.reshape(tf.math.bincount(tf.reshape(index, [-1]), minlength=tf.size(offset) * 256), [-1, 256])
    up_to = tf.cumsum(counts, axis=1)
    last = tf.reduce_max(tf.where(counts > 0, tf.range(256), 0), axis=1, keepdims=True)
    step = (pixels.shape[1] - tf.gather(counts, last, batch_dims=1)) // 255
    level = tf.minimum((up_to - counts + step // 2) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, level, tf.range(256))
    levels = tf.gather(tf.reshape(table, [-1]), index)
    channels_first = tf.reshape(levels, [-1, x.shape[3], x.shape[1], x.shape[2]])
    return tf.cast(tf.transpose(channels_first, [0, 2, 3, 1]), tf.float32)


COLOR_OPERATIONS: tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...] = (
    _identity, _brightness, _color, _contrast, _sharpness, _posterize, _solarize, _autocontrast, _equalize,
)  # fmt: skip
"""Color operations (images, strength, sign) -> images, numbered after the geometric ones."""


def _scale_difference(reference: Tensor, x: Tensor, amount: Tensor) -> Tensor:
    return reference + (x - reference) * (1 + 0.99 * amount)


def _gray(x: Tensor) -> Tensor:
    return x if x.shape[3] != 3 else tf.tensordot(x, tf.constant(LUMA), 1)[..., None]


def _quantize(x: Tensor) -> Tensor:
    """Round and clip to the values of an 8-bit image."""
    return tf.clip_by_value(tf.round(x), 0, 255)

"""Geometric transforms: flip, rotation, shift, crop, zoom, random resized crop, shear."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field

from cifar.augmentation import Geometric
from cifar.config.registry import AUGMENTATIONS
from cifar.config.schema import NonNegativeInt, Rate, UnitInterval
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import tf

HalfTurn = Annotated[float, Field(ge=0, le=180)]
Positive = Annotated[float, Field(gt=0, le=1)]
Slant = Annotated[float, Field(ge=0, lt=90)]


def affine(count: Any, xx: Any = 1.0, xy: Any = 0.0, dx: Any = 0.0, yx: Any = 0.0, yy: Any = 1.0, dy: Any = 0.0):
    """Return matrices (count, 3, 3) for x' = xx·x + xy·y + dx, y' = yx·x + yy·y + dy; entries: scalars or (count,)."""
    entries = (xx, xy, dx, yx, yy, dy, 0.0, 0.0, 1.0)
    return tf.reshape(tf.stack([tf.broadcast_to(entry, [count]) for entry in entries], axis=1), [-1, 3, 3])


@AUGMENTATIONS.register
def flip(*, horizontal: bool, vertical: bool) -> Geometric:
    """Flip horizontally and vertically, each with probability 1/2 if enabled."""

    def sample(rng):
        sign = tf.where(rng.uniform(0, 1) < 0.5, -1.0, 1.0)
        return affine(rng.count, xx=sign[:, 0] if horizontal else 1.0, yy=sign[:, 1] if vertical else 1.0)

    return Geometric(sample)


@AUGMENTATIONS.register
def alternating_flip() -> Geometric:
    """Flip horizontally in every other epoch; each image starts flipped with probability 1/2.

    Any two consecutive epochs show each image in both ways (Jordan 2024, arXiv:2404.00498, section 3.6).
    """

    def sample(rng):
        odd = tf.cast(rng.batch.epoch, tf.int64) % 2 == 1
        return affine(rng.count, xx=tf.where(tf.math.logical_xor(rng.bernoulli(), odd), -1.0, 1.0))

    return Geometric(sample)


@AUGMENTATIONS.register
def rotation(*, degrees: HalfTurn) -> Geometric:
    """Rotate about the center by an angle uniform in ±`degrees`."""

    def sample(rng):
        angle = math.radians(degrees) * rng.uniform(-1, 1)[:, 0]
        sine, cosine = tf.sin(angle), tf.cos(angle)
        return affine(rng.count, xx=cosine, xy=-sine, yx=sine, yy=cosine)

    return Geometric(sample)


@AUGMENTATIONS.register
def shift(*, width: UnitInterval, height: UnitInterval) -> Geometric:
    """Translate by shares of the image's width and height, uniform in ±`width` and ±`height`."""

    def sample(rng):
        share = rng.uniform(-1, 1)
        return affine(rng.count, dx=width * rng.shape[1] * share[:, 0], dy=height * rng.shape[0] * share[:, 1])

    return Geometric(sample)


@AUGMENTATIONS.register
def crop(*, padding: NonNegativeInt) -> Geometric:
    """Pad by `padding` pixels on all sides and crop to the original size at random: a shift by whole pixels.

    The usual augmentation for CIFAR (He et al. 2016, arXiv:1512.03385, section 4.2, with zero padding: `constant`).
    """

    def sample(rng):
        pixels = tf.random.stateless_uniform([rng.count, 2], rng.key, -padding, padding + 1, tf.int32, alg="philox")
        move = tf.cast(pixels, tf.float32)
        return affine(rng.count, dx=move[:, 0], dy=move[:, 1])

    return Geometric(sample)


@AUGMENTATIONS.register
def zoom(*, amount: Rate) -> Geometric:
    """Scale both axes by one factor, uniform in 1 ± `amount`; factors below 1 shrink the image."""

    def sample(rng):
        factor = 1 + amount * rng.uniform(-1, 1)[:, 0]
        return affine(rng.count, xx=1 / factor, yy=1 / factor)

    return Geometric(sample)


@AUGMENTATIONS.register
def random_resized_crop(*, min_area: Positive, max_area: Positive, min_aspect: Positive) -> Geometric:
    """Cut out a part of the image and resize it to the whole (Szegedy et al. 2015, arXiv:1409.4842, section 6).

    Its share of the area is uniform from `min_area` to `max_area`; its aspect ratio, relative to the image's, is
    log-uniform from `min_aspect` to 1 / `min_aspect`, within what such an area can have in the image. Its position is
    uniform.
    """
    if min_area > max_area:
        key = "augmentation.random_resized_crop.min_area"
        raise InputError(f"{key}={min_area}: should be at most max_area, which is {max_area}")

    def sample(rng):
        share, shape, down, across = tf.unstack(rng.uniform(-1, 1, 4), axis=1)
        area = min_area + (max_area - min_area) * (share + 1) / 2
        aspect = tf.exp(tf.minimum(-math.log(min_aspect), -tf.math.log(area)) * shape)
        wide, tall = tf.sqrt(area * aspect), tf.sqrt(area / aspect)
        dx, dy = rng.shape[1] * (1 - wide) / 2 * across, rng.shape[0] * (1 - tall) / 2 * down
        return affine(rng.count, xx=wide, dx=dx, yy=tall, dy=dy)

    return Geometric(sample)


@AUGMENTATIONS.register
def shear(*, degrees: Slant) -> Geometric:
    """Shear horizontally by an angle uniform in ±`degrees`."""

    def sample(rng):
        return affine(rng.count, xy=tf.tan(math.radians(degrees) * rng.uniform(-1, 1)[:, 0]))

    return Geometric(sample)

"""Choices that move pixels."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field

from cifar.augmentation import Geometric
from cifar.config.registry import AUGMENTATIONS
from cifar.config.schema import NonNegativeInt, Rate, UnitInterval
from cifar.runtime.lazy import tf

HalfTurn = Annotated[float, Field(ge=0, le=180)]
Slant = Annotated[float, Field(ge=0, lt=90)]


def affine(count: Any, xx: Any = 1.0, xy: Any = 0.0, dx: Any = 0.0, yx: Any = 0.0, yy: Any = 1.0, dy: Any = 0.0):
    """(count, 3, 3): x' = xx·x + xy·y + dx and y' = yx·x + yy·y + dy; each number one for all or (count,)."""
    entries = (xx, xy, dx, yx, yy, dy, 0.0, 0.0, 1.0)
    return tf.reshape(tf.stack([tf.broadcast_to(entry, [count]) for entry in entries], axis=1), [-1, 3, 3])


@AUGMENTATIONS.register
def flip(*, horizontal: bool, vertical: bool) -> Geometric:
    """Mirror left and right, and top and bottom, each with probability 1/2."""

    def sample(draw):
        sign = tf.where(draw.uniform(0, 1) < 0.5, -1.0, 1.0)
        return affine(draw.count, xx=sign[:, 0] if horizontal else 1.0, yy=sign[:, 1] if vertical else 1.0)

    return Geometric(sample)


@AUGMENTATIONS.register
def alternating_flip() -> Geometric:
    """Mirror left and right every other epoch; in which of two an image begins is random.

    So two epochs in a row show each image both ways (Jordan 2024, arXiv:2404.00498, section 3.6).
    """

    def sample(draw):
        odd = tf.cast(draw.batch.epoch, tf.int64) % 2 == 1
        return affine(draw.count, xx=tf.where(tf.math.logical_xor(draw.bernoulli(), odd), -1.0, 1.0))

    return Geometric(sample)


@AUGMENTATIONS.register
def rotation(*, degrees: HalfTurn) -> Geometric:
    """Turn about the center by an angle uniform in ±`degrees`."""

    def sample(draw):
        angle = math.radians(degrees) * draw.uniform(-1, 1)[:, 0]
        sine, cosine = tf.sin(angle), tf.cos(angle)
        return affine(draw.count, xx=cosine, xy=-sine, yx=sine, yy=cosine)

    return Geometric(sample)


@AUGMENTATIONS.register
def shift(*, width: UnitInterval, height: UnitInterval) -> Geometric:
    """Move by a share of the image's width, uniform in ±`width`, and by one of its height likewise."""

    def sample(draw):
        share = draw.uniform(-1, 1)
        return affine(draw.count, dx=width * draw.shape[1] * share[:, 0], dy=height * draw.shape[0] * share[:, 1])

    return Geometric(sample)


@AUGMENTATIONS.register
def crop(*, padding: NonNegativeInt) -> Geometric:
    """Pad by `padding` pixels on all sides and cut out the old size at random: a shift by whole pixels.

    The usual augmentation of CIFAR (He et al. 2016, arXiv:1512.03385, section 4.2, pads with zeros: `constant`).
    """

    def sample(draw):
        pixels = tf.random.stateless_uniform([draw.count, 2], draw.key, -padding, padding + 1, tf.int32, alg="philox")
        move = tf.cast(pixels, tf.float32)
        return affine(draw.count, dx=move[:, 0], dy=move[:, 1])

    return Geometric(sample)


@AUGMENTATIONS.register
def zoom(*, amount: Rate) -> Geometric:
    """Enlarge both axes by one factor uniform in 1 ± `amount`; below 1 the picture shrinks."""

    def sample(draw):
        factor = 1 + amount * draw.uniform(-1, 1)[:, 0]
        return affine(draw.count, xx=1 / factor, yy=1 / factor)

    return Geometric(sample)


@AUGMENTATIONS.register
def shear(*, degrees: Slant) -> Geometric:
    """Slant the vertical lines by an angle uniform in ±`degrees`."""

    def sample(draw):
        return affine(draw.count, xy=tf.tan(math.radians(degrees) * draw.uniform(-1, 1)[:, 0]))

    return Geometric(sample)

"""Choices that change pixels where they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cifar.augmentation import Draw, Photometric
from cifar.augmentation.boxes import inside
from cifar.config.registry import AUGMENTATIONS
from cifar.config.schema import UnitInterval
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import tf

if TYPE_CHECKING:
    from tensorflow import Tensor
Level = Annotated[float, Field(ge=0, le=255)]
Aspect = Annotated[float, Field(gt=0, le=1)]


@AUGMENTATIONS.register
def brightness(*, amount: UnitInterval) -> Photometric:
    """Add to all pixels of an image a value uniform in ±`amount` of the full scale of 255."""
    return Photometric(_sample, lambda numbers, x: x + 255 * amount * numbers)


@AUGMENTATIONS.register
def contrast(*, amount: UnitInterval) -> Photometric:
    """Stretch an image's pixels about their mean, over all channels, by a factor uniform in 1 ± `amount`."""

    def apply(numbers, x):
        mean = tf.reduce_mean(x, axis=[1, 2, 3], keepdims=True)
        return mean + (x - mean) * (1 + amount * numbers)

    return Photometric(_sample, apply)


@AUGMENTATIONS.register
def cutout(*, size: UnitInterval, fill: Level) -> Photometric:
    """Cover a square about a random pixel, cut off at the image's edge (DeVries & Taylor 2017, arXiv:1708.04552).

    Its side is `size` times the image's shorter one.
    """

    def sample(draw):
        height, width, _ = draw.shape
        side = round(size * min(height, width))
        center = tf.floor(draw.uniform(0, 1) * [height, width])
        top, left = tf.unstack(center - side // 2, axis=1)
        return inside(top, left, side, side, (height, width))

    return Photometric(sample, lambda covered, x: tf.where(covered, fill, x))


@AUGMENTATIONS.register
def random_erasing(
    *, probability: UnitInterval, least_area: UnitInterval, most_area: UnitInterval, least_aspect: Aspect
) -> Photometric:
    """Put noise in place of a random rectangle (Zhong et al. 2017, arXiv:1708.04896, RE-R).

    With `probability`, the rectangle covers a share of the image that is uniform from `least_area` to `most_area`; its
    aspect is log-uniform from `least_aspect` to 1 / `least_aspect`, within what such an area can have in the image.
    """
    if least_area > most_area:
        key = "augmentation.random_erasing.least_area"
        raise InputError(f"{key}={least_area}: should be at most most_area, which is {most_area}")

    def sample(draw):
        height, width, _ = draw.shape
        chance, share, shape, down, across = tf.unstack(draw.uniform(0, 1, 5), axis=1)
        area = (least_area + (most_area - least_area) * share) * tf.cast(chance < probability, tf.float32)
        bound = tf.minimum(-math.log(least_aspect), -tf.math.log(tf.maximum(area, 1e-6)))
        aspect = tf.exp(bound * (2 * shape - 1))
        tall, wide = tf.round(height * tf.sqrt(area * aspect)), tf.round(width * tf.sqrt(area / aspect))
        top, left = tf.floor(down * (height - tall + 1)), tf.floor(across * (width - wide + 1))
        return inside(top, left, tall, wide, (height, width)), draw.fold_in("noise").pixels()

    def apply(numbers, x):
        erased, noise = numbers
        return tf.where(erased, tf.cast(noise, tf.float32), x)

    return Photometric(sample, apply)


def _sample(draw: Draw) -> Tensor:
    """float32 (n, 1, 1, 1) in [-1, 1)."""
    return draw.uniform(-1, 1)[:, :1, None, None]

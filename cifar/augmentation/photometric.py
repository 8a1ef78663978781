"""Photometric transforms: brightness, contrast, cutout, random erasing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cifar.augmentation import BatchRandom, Photometric
from cifar.augmentation.boxes import box_mask
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
    """Add one value to all pixels of an image, uniform in ±`amount` · 255."""
    return Photometric(_sample, lambda numbers, x: x + 255 * amount * numbers)


@AUGMENTATIONS.register
def contrast(*, amount: UnitInterval) -> Photometric:
    """Scale the difference of an image's pixels to their mean over all channels, uniform in 1 ± `amount`."""

    def apply(numbers, x):
        mean = tf.reduce_mean(x, axis=[1, 2, 3], keepdims=True)
        return mean + (x - mean) * (1 + amount * numbers)

    return Photometric(_sample, apply)


@AUGMENTATIONS.register
def cutout(*, size: UnitInterval, fill: Level) -> Photometric:
    """Fill a square around a random pixel, clipped to the image (DeVries & Taylor 2017, arXiv:1708.04552).

    Its side is `size` times the image's shorter side.
    """

    def sample(rng):
        height, width, _ = rng.shape
        side = round(size * min(height, width))
        center = tf.floor(rng.uniform(0, 1) * [height, width])
        top, left = tf.unstack(center - side // 2, axis=1)
        return box_mask(top, left, side, side, (height, width))

    return Photometric(sample, lambda covered, x: tf.where(covered, fill, x))


@AUGMENTATIONS.register
def random_erasing(
    *, probability: UnitInterval, min_area: UnitInterval, max_area: UnitInterval, min_aspect: Aspect
) -> Photometric:
    """Replace a random rectangle by noise (Zhong et al. 2017, arXiv:1708.04896, RE-R).

    With `probability`, the rectangle covers a share of the image that is uniform from `min_area` to `max_area`; its
    aspect is log-uniform from `min_aspect` to 1 / `min_aspect`, within what such an area can have in the image.
    """
    if min_area > max_area:
        key = "augmentation.random_erasing.min_area"
        raise InputError(f"{key}={min_area}: should be at most max_area, which is {max_area}")

    def sample(rng):
        height, width, _ = rng.shape
        chance, share, shape, down, across = tf.unstack(rng.uniform(0, 1, 5), axis=1)
        area = (min_area + (max_area - min_area) * share) * tf.cast(chance < probability, tf.float32)
        bound = tf.minimum(-math.log(min_aspect), -tf.math.log(tf.maximum(area, 1e-6)))
        aspect = tf.exp(bound * (2 * shape - 1))
        tall, wide = tf.round(height * tf.sqrt(area * aspect)), tf.round(width * tf.sqrt(area / aspect))
        top, left = tf.floor(down * (height - tall + 1)), tf.floor(across * (width - wide + 1))
        return box_mask(top, left, tall, wide, (height, width)), rng.fold_in("noise").pixels()

    def apply(numbers, x):
        erased, noise = numbers
        return tf.where(erased, tf.cast(noise, tf.float32), x)

    return Photometric(sample, apply)


def _sample(rng: BatchRandom) -> Tensor:
    """float32 (n, 1, 1, 1) in [-1, 1)."""
    return rng.uniform(-1, 1)[:, :1, None, None]

"""Mixing transforms: mixup and CutMix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar.augmentation import BatchRandom, Mixing
from cifar.augmentation.boxes import box_mask
from cifar.config.registry import AUGMENTATIONS
from cifar.config.schema import PositiveFloat, UnitInterval
from cifar.runtime.lazy import tf

if TYPE_CHECKING:
    from tensorflow import Tensor


@AUGMENTATIONS.register
def mixup(*, alpha: PositiveFloat) -> Mixing:
    """Blend two images with a weight from Beta(`alpha`, `alpha`) (Zhang et al. 2017, arXiv:1710.09412)."""
    return Mixing(lambda rng: _beta(rng, alpha)[:, None, None, None])


@AUGMENTATIONS.register
def cutmix(*, alpha: PositiveFloat, probability: UnitInterval) -> Mixing:
    """With `probability`, paste a box of the partner (Yun et al. 2019, arXiv:1905.04899).

    The box has the image's aspect ratio and an area of 1 minus a number from Beta(`alpha`, `alpha`); its center is
    uniform in the image, and the box is clipped to the image.
    """

    def sample(rng):
        height, width, _ = rng.shape
        chance, down, across = tf.unstack(rng.uniform(0, 1, 3), axis=1)
        side = tf.sqrt(1 - _beta(rng, alpha)) * tf.cast(chance < probability, tf.float32)
        tall, wide = tf.floor(height * side), tf.floor(width * side)
        top, left = tf.floor(down * height) - tall // 2, tf.floor(across * width) - wide // 2
        return 1 - tf.cast(box_mask(top, left, tall, wide, (height, width)), tf.float32)

    return Mixing(sample)


def _beta(rng: BatchRandom, alpha: float) -> Tensor:
    """float32 (n,) from Beta(`alpha`, `alpha`)."""
    first, second = tf.unstack(tf.random.stateless_gamma([2, rng.count], rng.fold_in("share").key, alpha))
    return tf.math.divide_no_nan(first, first + second)

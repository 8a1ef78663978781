"""`task.loss` of `task=segmentation`: Keras losses of masks and probabilities, see `cifar.tasks.segmentation.losses`.

The task offers `class_weights`, one for the background and one for each class, and `focal_gamma`.
"""

from __future__ import annotations

import functools

from cifar.config.registry import LOSSES
from cifar.runtime.lazy import keras


@LOSSES["segmentation"].register
def cross_entropy(class_weights: list[float]) -> keras.losses.Loss:
    """Cross-entropy of each pixel."""
    from cifar.tasks.segmentation import losses

    return losses.MaskLoss([losses.cross_entropy], class_weights)


@LOSSES["segmentation"].register
def focal(class_weights: list[float], focal_gamma: float) -> keras.losses.Loss:
    """Focal loss of each pixel."""
    from cifar.tasks.segmentation import losses

    return losses.MaskLoss([functools.partial(losses.cross_entropy, gamma=focal_gamma)], class_weights)


@LOSSES["segmentation"].register
def dice(class_weights: list[float]) -> keras.losses.Loss:
    """Dice loss of the classes of each image."""
    from cifar.tasks.segmentation import losses

    return losses.MaskLoss([losses.dice], class_weights)


@LOSSES["segmentation"].register
def cross_entropy_dice(class_weights: list[float]) -> keras.losses.Loss:
    """Sum of the cross-entropy and the Dice loss."""
    from cifar.tasks.segmentation import losses

    return losses.MaskLoss([losses.cross_entropy, losses.dice], class_weights)

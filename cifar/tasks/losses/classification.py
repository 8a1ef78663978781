"""`task.loss` of `task=classification`: Keras losses of one-hot targets and probabilities, both (n, classes).

The task offers `label_smoothing`, `class_weights` (one for each class, or `None`) and `focal_gamma`.
"""

from __future__ import annotations

from cifar.config.registry import LOSSES
from cifar.runtime.lazy import keras


@LOSSES["classification"].register
def cross_entropy(label_smoothing: float, class_weights: list[float] | None) -> keras.losses.Loss:
    """Categorical cross-entropy."""
    return focal(label_smoothing, class_weights, 0.0)


@LOSSES["classification"].register
def focal(label_smoothing: float, class_weights: list[float] | None, focal_gamma: float) -> keras.losses.Loss:
    """Focal loss: Lin et al. 2017, arXiv:1708.02002. With a gamma of 0 it is the cross-entropy, weighted by class."""
    if focal_gamma or class_weights:
        return keras.losses.CategoricalFocalCrossentropy(
            alpha=class_weights or 1.0, gamma=focal_gamma, label_smoothing=label_smoothing
        )
    return keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)

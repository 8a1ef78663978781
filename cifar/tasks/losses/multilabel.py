"""`task.loss` of `task=multilabel`: Keras losses of targets 0 or 1 and probabilities, both (n, classes).

They are means over the classes. The task offers `label_smoothing` and `focal_gamma`.
"""

from __future__ import annotations

from cifar.config.registry import LOSSES
from cifar.runtime.lazy import keras


@LOSSES["multilabel"].register
def cross_entropy(label_smoothing: float) -> keras.losses.Loss:
    """Binary cross-entropy of each class."""
    return keras.losses.BinaryCrossentropy(label_smoothing=label_smoothing)


@LOSSES["multilabel"].register
def focal(label_smoothing: float, focal_gamma: float) -> keras.losses.Loss:
    """Focal loss of each class: Lin et al. 2017, arXiv:1708.02002."""
    return keras.losses.BinaryFocalCrossentropy(gamma=focal_gamma, label_smoothing=label_smoothing)

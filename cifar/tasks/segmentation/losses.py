"""Segmentation losses and training metrics.

Targets are masks (n, height, width) of integers, as in `Split`; outputs are probabilities of the k classes, background
first, (n, height, width, k). Pixels of the value 255, `VOID`, are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

Part = Callable[[Any, Any, Any], Any]
"""(truth (n, height, width, k) one-hot, zeros for `VOID`; probabilities; weights (k,)) -> losses (n,)."""
EPSILON = 1e-30
"""Lower bound of probabilities in logarithms, so that gradients stay finite, also before a softmax."""


class MaskLoss(keras.losses.Loss):
    """Sum of `parts`, each a loss per image, so that the mean over a batch is the mean over images.

    All images have the same weight, however many of their pixels are `VOID`; an image of `VOID` only has the loss 0.
    """

    def __init__(self, parts: Sequence[Part], weights: Sequence[float]):
        super().__init__(name="mask_loss")
        self._parts, self._weights = parts, weights

    def call(self, y_true, y_pred):
        truth, weights = one_hot(y_true, len(self._weights)), ops.convert_to_tensor(self._weights, self.dtype)
        return sum(part(truth, y_pred, weights) for part in self._parts)


def cross_entropy(truth, probabilities, weights, gamma: float = 0.0):
    """Mean over an image's pixels of the class's weight times the (focal) cross-entropy.

    With `gamma` above 0 it is the focal loss, which reduces the weight of confident pixels (Lin et al. 2017,
    arXiv:1708.02002). Keras's losses are not used: they clip probabilities at 1e-7, where gradients vanish.
    """
    right = ops.sum(truth * probabilities, axis=-1)
    each = -ops.sum(truth * weights, axis=-1) * ops.log(ops.maximum(right, EPSILON))
    if gamma:
        each *= ops.power(ops.maximum(1 - right, EPSILON), gamma)
    return ops.sum(each, axis=(1, 2)) / ops.maximum(ops.sum(truth, axis=(1, 2, 3)), 1)


def dice(truth, probabilities, weights):
    """1 - 2 |intersection| / (|truth| + |prediction|), averaged over the classes in an image by their weights.

    After Drozdzal et al. 2016, arXiv:1608.04117, per image; a class missing in an image has no term of its own. Equal
    to the bit to `keras.losses.Dice` if no class is missing and no pixel is `VOID`.
    """
    known = ops.sum(truth, axis=-1, keepdims=True)
    overlaps, sizes = ops.sum(truth * probabilities, axis=(1, 2)), ops.sum(truth, axis=(1, 2))
    total = sizes + ops.sum(known * probabilities, axis=(1, 2))
    weights = weights * ops.cast(sizes > 0, weights.dtype)
    losses = 1 - ops.divide_no_nan(2 * overlaps, total)
    return ops.divide_no_nan(ops.sum(weights * losses, axis=-1), ops.sum(weights, axis=-1))


class Confusion(keras.metrics.Metric):
    """Base of metrics computed from the confusion matrix, true classes in rows, summed over batches and devices."""

    def __init__(self, classes: int, name: str):
        super().__init__(name=name)
        # float32 rounds counts above 2²⁴ to 7 digits; int32 would overflow above 2³¹.
        self.matrix = self.add_variable((classes, classes), "zeros", "float32", name="matrix")

    def update_state(self, y_true, y_pred, sample_weight=None):
        classes = self.matrix.shape[0]
        truth = ops.reshape(one_hot(y_true, classes), (-1, classes))
        guess = ops.reshape(one_hot(ops.argmax(y_pred, axis=-1), classes), (-1, classes))
        self.matrix.assign(self.matrix + ops.matmul(ops.transpose(truth), guess))


class Accuracy(Confusion):
    """Share of correctly classified pixels."""

    def result(self):
        return ops.divide_no_nan(ops.trace(self.matrix), ops.sum(self.matrix))


class MeanIoU(Confusion):
    """Mean intersection over union of the classes that occur in targets or predictions.

    `keras.metrics.MeanIoU` gives equal results, but is slower for few classes.
    """

    def result(self):
        right = ops.diagonal(self.matrix)
        union = ops.sum(self.matrix, axis=0) + ops.sum(self.matrix, axis=1) - right
        return ops.divide_no_nan(ops.sum(ops.divide_no_nan(right, union)), ops.sum(ops.cast(union > 0, "float32")))


def one_hot(mask, classes: int):
    """One-hot encode a mask: float32 (…, `classes`), zeros for `VOID`."""
    return ops.one_hot(ops.cast(mask, "int32"), classes, dtype="float32")

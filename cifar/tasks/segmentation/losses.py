"""What a mask costs, and how well it is met, while a model learns masks.

Targets are masks (n, height, width) of whole numbers, as in `Split`; outputs are probabilities of the k classes, the
background's first, (n, height, width, k). What is void, 255, is in neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

Part = Callable[[Any, Any, Any], Any]
"""(truth (n, height, width, k) one-hot, zeros where it is void; probabilities; weights (k,)) -> losses (n,)."""
LEAST = 1e-30
"""Of a probability whose logarithm is taken: its gradient stays finite, also before a softmax."""


class MaskLoss(keras.losses.Loss):
    """The sum of `parts`, each a loss of every image, so that its mean over a batch is the mean over images.

    An image counts the same however much of it is void, on whichever device; one that is all void costs nothing.
    """

    def __init__(self, parts: Sequence[Part], weights: Sequence[float]):
        super().__init__(name="mask_loss")
        self._parts, self._weights = parts, weights

    def call(self, y_true, y_pred):
        truth, weights = one_hot(y_true, len(self._weights)), ops.convert_to_tensor(self._weights, self.dtype)
        return sum(part(truth, y_pred, weights) for part in self._parts)


def cross_entropy(truth, probabilities, weights, gamma: float = 0.0):
    """The mean over an image's pixels of their classes' weights times their (focal) cross-entropy.

    Focal with `gamma` above 0: pixels that are certain already count less (Lin et al. 2017, arXiv:1708.02002). Keras's
    losses clip probabilities at 1e-7, where the gradient of a pixel that is surely wrong ends.
    """
    right = ops.sum(truth * probabilities, axis=-1)
    each = -ops.sum(truth * weights, axis=-1) * ops.log(ops.maximum(right, LEAST))
    if gamma:
        each *= ops.power(ops.maximum(1 - right, LEAST), gamma)
    return ops.sum(each, axis=(1, 2)) / ops.maximum(ops.sum(truth, axis=(1, 2, 3)), 1)


def dice(truth, probabilities, weights):
    """1 - 2 |overlap| / (|truth| + |prediction|) of each class that an image has, their mean by the classes' weights.

    After Drozdzal et al. 2016, arXiv:1608.04117, image by image; a class that an image has not costs by what it takes
    from those that it has. `keras.losses.Dice` is equal to the bit where no class is missing and no pixel void.
    """
    known = ops.sum(truth, axis=-1, keepdims=True)
    overlaps, sizes = ops.sum(truth * probabilities, axis=(1, 2)), ops.sum(truth, axis=(1, 2))
    both = sizes + ops.sum(known * probabilities, axis=(1, 2))
    there = weights * ops.cast(sizes > 0, weights.dtype)
    missed = 1 - ops.divide_no_nan(2 * overlaps, both)
    return ops.divide_no_nan(ops.sum(there * missed, axis=-1), ops.sum(there, axis=-1))


class Confusion(keras.metrics.Metric):
    """How often pixels of each class (rows) are taken for each (columns), summed over batches and devices."""

    def __init__(self, classes: int, name: str):
        super().__init__(name=name)
        # Counts beyond 2²⁴ are rounded to 7 digits, where those of integers would overflow beyond 2³¹.
        self.matrix = self.add_variable((classes, classes), "zeros", "float32", name="matrix")

    def update_state(self, y_true, y_pred, sample_weight=None):
        classes = self.matrix.shape[0]
        truth = ops.reshape(one_hot(y_true, classes), (-1, classes))
        guess = ops.reshape(one_hot(ops.argmax(y_pred, axis=-1), classes), (-1, classes))
        self.matrix.assign(self.matrix + ops.matmul(ops.transpose(truth), guess))


class Accuracy(Confusion):
    """The share of pixels whose class is found."""

    def result(self):
        return ops.divide_no_nan(ops.trace(self.matrix), ops.sum(self.matrix))


class MeanIoU(Confusion):
    """The mean intersection over union of the classes that are there or are predicted.

    `keras.metrics.MeanIoU` is equal, and slower where classes are few.
    """

    def result(self):
        right = ops.diagonal(self.matrix)
        union = ops.sum(self.matrix, axis=0) + ops.sum(self.matrix, axis=1) - right
        return ops.divide_no_nan(ops.sum(ops.divide_no_nan(right, union)), ops.sum(ops.cast(union > 0, "float32")))


def one_hot(mask, classes: int):
    """float32 (…, `classes`): zeros where a mask is void."""
    return ops.one_hot(ops.cast(mask, "int32"), classes, dtype="float32")

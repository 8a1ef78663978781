"""The metric of training with several labels an image."""

from __future__ import annotations

import keras
from keras import ops


class MicroF1(keras.metrics.Metric):
    """F1 score of all labels together, of targets 0 to 1 and probabilities above a `threshold`, both (n, classes).

    `keras.metrics.F1Score` has equal results, but no variables before the first batch, so that a resumed run could
    not restore them.
    """

    def __init__(self, threshold: float, name: str):
        super().__init__(name=name)
        self.threshold = threshold
        self.right, self.all = (self.add_variable((), "zeros", "float32", name=part) for part in ("right", "all"))

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth, found = ops.cast(y_true, "float32"), ops.cast(y_pred > self.threshold, "float32")
        self.right.assign(self.right + ops.sum(truth * found))
        self.all.assign(self.all + ops.sum(truth) + ops.sum(found))

    def result(self):
        return ops.divide_no_nan(2 * self.right, self.all)

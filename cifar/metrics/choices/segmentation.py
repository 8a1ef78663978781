"""Test metrics of `task=segmentation`.

The task offers `matrix` int64 (classes, classes), the pixels of all images by true (rows) and predicted class, the
background first, and `boundaries` (n, classes), the boundary F1 of each class in each image, NaN where there is none.
"""

from __future__ import annotations

from cifar.config.registry import METRICS
from cifar.runtime.lazy import np


@METRICS["segmentation"].register
def accuracy(matrix: np.ndarray) -> float:
    """Share of correctly classified pixels."""
    return np.trace(matrix) / max(1, matrix.sum())


@METRICS["segmentation"].register
def mean_iou(matrix: np.ndarray) -> float:
    """Mean over the classes of intersection over union."""
    from cifar.metrics.segmentation import mean, scores

    return float(mean(scores(matrix)["iou"]))


@METRICS["segmentation"].register
def dice(matrix: np.ndarray) -> float:
    """Mean over the classes of the Dice coefficient."""
    from cifar.metrics.segmentation import mean, scores

    return float(mean(scores(matrix)["dice"]))


@METRICS["segmentation"].register
def boundary_f1(boundaries: np.ndarray) -> float:
    """Mean over the images of the mean boundary F1 of their classes."""
    from cifar.metrics.segmentation import mean

    return float(mean(mean(boundaries, axis=1)))


@METRICS["segmentation"].register
def foreground_iou(matrix: np.ndarray) -> float:
    """Intersection over union of the foreground, regardless of its class."""
    return matrix[1:, 1:].sum() / max(1, matrix.sum() - matrix[0, 0])

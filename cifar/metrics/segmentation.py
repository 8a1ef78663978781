"""Segmentation metrics, computed image by image."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from cifar.interfaces import VOID

SHARE_OF_DIAGONAL = 0.0075
"""Tolerance of boundaries as a share of the image's diagonal, after Csurka et al. 2013."""


def counts(masks: np.ndarray, classes: int) -> np.ndarray:
    """Count the pixels of each class in `masks` uint8 (n, height, width): int64 (classes,)."""
    total = np.zeros(VOID + 1, np.int64)
    for mask in masks:
        total += np.bincount(mask.ravel(), minlength=VOID + 1)
    return total[:classes]


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by true class (rows) and predicted class (columns): int64 (classes, classes), without `VOID`.

    Masks are uint8 (height, width).
    """
    known = truth != VOID
    pairs = truth[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def scores(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Return `iou`, `dice`, `precision` and `recall` of each class, (classes,); NaN if undefined."""
    right, true, predicted = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return {
        "iou": _ratio(right, true + predicted - right),
        "dice": _ratio(2 * right, true + predicted),
        "precision": _ratio(right, predicted),
        "recall": _ratio(right, true),
    }


def mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean of the values that are not NaN; NaN if all are."""
    valid = ~np.isnan(values)
    return _ratio(np.where(valid, values, 0).sum(axis=axis), valid.sum(axis=axis))


def tolerance(height: int, width: int) -> int:
    """Maximum distance of matching boundaries in pixels: 0.75 % of the diagonal, rounded up; 1 for 64×64."""
    return int(np.ceil(SHARE_OF_DIAGONAL * np.hypot(height, width)))


def boundary_f1(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Boundary F1 of each class in an image (Csurka et al. 2013, doi:10.5244/C.27.32): float (classes,).

    Precision is the share of the predicted boundary within `tolerance` of the true one; recall is the share of the true
    boundary within `tolerance` of the predicted one. A class with a boundary in only one of the masks (height, width)
    has 0; with none in both, NaN. `VOID` pixels have no boundary.
    """
    within, values = tolerance(*truth.shape), np.full(classes, np.nan)
    true_edge, predicted_edge = boundary(truth), boundary(np.where(truth == VOID, VOID, predicted))
    for k in np.union1d(truth[true_edge], predicted[predicted_edge]):
        true_points, predicted_points = (
            np.argwhere(true_edge & (truth == k)),
            np.argwhere(predicted_edge & (predicted == k)),
        )
        values[k] = 0.0
        if len(predicted_points) and len(true_points) and (precision := _near(predicted_points, true_points, within)):
            recall = _near(true_points, predicted_points, within)
            values[k] = 2 * precision * recall / (precision + recall)
    return values


def boundary(mask: np.ndarray) -> np.ndarray:
    """Mask of the pixels with a 4-neighbor of another class: bool (height, width)."""
    edge = np.zeros(mask.shape, bool)
    for first, second in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        differs = (mask[first] != mask[second]) & (mask[first] != VOID) & (mask[second] != VOID)
        edge[first] |= differs
        edge[second] |= differs
    return edge


def _near(points: np.ndarray, others: np.ndarray, within: int) -> float:
    """Share of `points` (n, 2) with one of the `others` at most `within` pixels away."""
    distance, _ = cKDTree(others).query(points)
    return float((distance <= within).mean())


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)

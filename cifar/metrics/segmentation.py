"""How well masks are met, counted image by image."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from cifar.interfaces import VOID

SHARE_OF_DIAGONAL = 0.0075
"""Of an image, as a distance that boundaries may have; as of Csurka et al. 2013."""


def counts(masks: np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes,): how many pixels of `masks` uint8 (n, height, width) are of each class."""
    total = np.zeros(VOID + 1, np.int64)
    for mask in masks:
        total += np.bincount(mask.ravel(), minlength=VOID + 1)
    return total[:classes]


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes, classes): pixels by their true class (rows) and the predicted one; what is void is left out.

    Masks are uint8 (height, width).
    """
    known = truth != VOID
    pairs = truth[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def scores(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """`iou`, `dice`, `precision` and `recall` of each class, (classes,), NaN where nothing is to be said of it."""
    right, true, predicted = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return {
        "iou": _ratio(right, true + predicted - right),
        "dice": _ratio(2 * right, true + predicted),
        "precision": _ratio(right, predicted),
        "recall": _ratio(right, true),
    }


def mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The mean of what is not NaN; NaN where nothing is."""
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0).sum(axis=axis), there.sum(axis=axis))


def tolerance(height: int, width: int) -> int:
    """Pixels that a boundary may lie beside the true one: 0.75 % of the diagonal, rounded up, as 1 at 64×64."""
    return int(np.ceil(SHARE_OF_DIAGONAL * np.hypot(height, width)))


def boundary_f1(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """float (classes,): the boundary F1 of each class in an image (Csurka et al. 2013, doi:10.5244/C.27.32).

    Precision is the share of the prediction's boundary that lies within `tolerance` of the true one, and recall that
    of the true one within it of the prediction's. A class that has a boundary in one of the masks (height, width) alone
    has 0, and one that has none in either NaN. What is void is no boundary, and makes none.
    """
    within, values = tolerance(*truth.shape), np.full(classes, np.nan)
    true, found = boundary(truth), boundary(np.where(truth == VOID, VOID, predicted))
    for k in np.union1d(truth[true], predicted[found]):
        theirs, ours = np.argwhere(true & (truth == k)), np.argwhere(found & (predicted == k))
        values[k] = 0.0
        if len(ours) and len(theirs) and (precision := _near(ours, theirs, within)):
            recall = _near(theirs, ours, within)
            values[k] = 2 * precision * recall / (precision + recall)
    return values


def boundary(mask: np.ndarray) -> np.ndarray:
    """bool (height, width): pixels that have one of another class above, below or beside them."""
    edge = np.zeros(mask.shape, bool)
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        apart = (mask[here] != mask[there]) & (mask[here] != VOID) & (mask[there] != VOID)
        edge[here] |= apart
        edge[there] |= apart
    return edge


def _near(points: np.ndarray, others: np.ndarray, within: int) -> float:
    """The share of `points` (n, 2) that have one of the `others` at most so far."""
    distance, _ = cKDTree(others).query(points)
    return float((distance <= within).mean())


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)

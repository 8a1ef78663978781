"""Metrics of several labels an image."""

from __future__ import annotations

import numpy as np


def scores(truth: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Return `precision`, `recall`, `f1` and `average_precision` of each class, float (classes,).

    `truth` and `predicted` are bool (n, classes). A class that no image has is NaN; precision is 0 if a class is never
    predicted.
    """
    from sklearn.metrics import average_precision_score

    right, true, found = (values.sum(axis=0) for values in (truth & predicted, truth, predicted))
    has_images = true > 0
    ranking = [
        average_precision_score(truth[:, k], probabilities[:, k]) if has_images[k] else np.nan
        for k in range(truth.shape[1])
    ]
    return {
        "precision": np.where(has_images, _ratio(right, found), np.nan),
        "recall": np.where(has_images, _ratio(right, true), np.nan),
        "f1": np.where(has_images, _ratio(2 * right, true + found), np.nan),
        "average_precision": np.array(ranking),
    }


def micro(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return `precision`, `recall` and `f1` of all labels together, bool (n, classes); 0 if undefined."""
    right, true, found = (values.sum() for values in (truth & predicted, truth, predicted))
    return {
        "precision": float(_ratio(right, found)),
        "recall": float(_ratio(right, true)),
        "f1": float(_ratio(2 * right, true + found)),
    }


def macro(values: np.ndarray) -> float:
    """Return the mean of the values (classes,) that are not NaN; NaN if all are."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.maximum(whole, 1)

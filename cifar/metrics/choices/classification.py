"""Test metrics of `task=classification`.

The task offers `labels` and `predicted`, int64 (n,), `probabilities` float32 (n, classes), its `report` of precision,
recall and F1, and `soft_labels` float32 (n, classes), or None if the data have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cifar.config.registry import METRICS
from cifar.metrics.calibration import expected_calibration_error
from cifar.runtime.lazy import np
from cifar.runtime.quiet import silenced


@METRICS["classification"].register
def accuracy(report: Mapping[str, Any]) -> float:
    """Share of correctly classified images."""
    return report["accuracy"]


@METRICS["classification"].register
def kappa(labels: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray) -> float:
    """Cohen's kappa; NaN if undefined."""
    from sklearn import metrics as sk

    with silenced(2):  # scikit-learn warns where it is not defined
        return sk.cohen_kappa_score(labels, predicted, labels=np.arange(probabilities.shape[1]))


@METRICS["classification"].register
def ece(labels: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error of the highest probabilities."""
    return expected_calibration_error(probabilities.max(axis=1), predicted == labels)


@METRICS["classification"].register
def averages(report: Mapping[str, Any]) -> dict[str, float]:
    """Precision, recall and F1, averaged over the classes (`macro`) and over the images (`weighted`)."""
    names = {"precision": "precision", "recall": "recall", "f1-score": "f1"}
    return {
        f"{name}_{average}": report[f"{average} avg"][column]
        for average in ("macro", "weighted") for column, name in names.items()
    }  # fmt: skip


@METRICS["classification"].register
def top5_accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Share of images whose class is among the five most probable; for at least 10 classes."""
    if probabilities.shape[1] < 10:
        return None
    top5 = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    return (top5 == labels[:, None]).any(axis=1).mean()


@METRICS["classification"].register
def soft_labels(soft_labels: np.ndarray | None, probabilities: np.ndarray) -> Mapping[str, float] | None:
    """Mean cross-entropy against the soft labels, in nats, and the soft labels' entropy, its least possible value."""
    if soft_labels is None:
        return None
    cross_entropy = -(soft_labels * np.log(np.maximum(probabilities, 1e-7))).sum(axis=1)
    entropy = -(soft_labels * np.log(np.maximum(soft_labels, 1e-7))).sum(axis=1)
    return {"soft_cross_entropy": cross_entropy.mean(), "soft_label_entropy": entropy.mean()}

"""Test metrics of `task=multilabel`.

The task offers `truth` and `predicted` bool (n, classes), and `scores`, those of each class of
`cifar.metrics.multilabel`, NaN for a class that no image has.
"""

from __future__ import annotations

from collections.abc import Mapping

from cifar.config.registry import METRICS
from cifar.metrics.multilabel import macro, micro
from cifar.runtime.lazy import np


@METRICS["multilabel"].register
def mean_average_precision(scores: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean over the classes of the average precision, called `map` as in detection."""
    return {"map": macro(scores["average_precision"])}


@METRICS["multilabel"].register
def averages(truth: np.ndarray, predicted: np.ndarray, scores: Mapping[str, np.ndarray]) -> dict[str, float]:
    """F1, precision and recall of all labels together (`micro`), and averaged over the classes (`macro`)."""
    together = micro(truth, predicted)
    names = ("f1", "precision", "recall")
    return {f"{name}_micro": together[name] for name in names} | {
        f"{name}_macro": macro(scores[name]) for name in names
    }


@METRICS["multilabel"].register
def subset_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the images whose labels are all right."""
    return (truth == predicted).all(axis=1).mean()


@METRICS["multilabel"].register
def hamming_loss(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of wrong labels."""
    return (truth != predicted).mean()

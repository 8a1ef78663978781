"""Pairs of classes that are taken for each other."""

from __future__ import annotations

from typing import NamedTuple

from cifar.runtime.lazy import np


class Confused(NamedTuple):
    """Images of class `label` that were taken for class `predicted`: their number, and their share of the class."""

    label: int
    predicted: int
    images: int
    share: float


def confused_pairs(matrix: np.ndarray, most: int) -> list[Confused]:
    """The `most` frequent mistakes of a confusion matrix (k, k), rows true, columns predicted; the most frequent first.

    Of equally frequent ones, the greatest share of its class comes first.
    """
    mistakes = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    shares = mistakes / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    order = np.lexsort((-shares.ravel(), -mistakes.ravel()))[: min(most, np.count_nonzero(mistakes))]
    return [
        Confused(int(label), int(predicted), int(mistakes[label, predicted]), float(shares[label, predicted]))
        for label, predicted in zip(*np.unravel_index(order, mistakes.shape), strict=True)
    ]

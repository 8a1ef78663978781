"""Calibration: comparison of a model's confidence with its accuracy."""

from __future__ import annotations

import math
from typing import NamedTuple

from cifar.runtime.lazy import np


class CalibrationBins(NamedTuple):
    """Per bin of confidence: number of images, mean accuracy and mean confidence (NaN in an empty bin)."""

    images: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray


def calibration_bins(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> CalibrationBins:
    """Group images into `bins` equally wide, right-closed bins of confidence (Guo et al. 2017, arXiv:1706.04599).

    `confidence` is (n,), the probability of the predicted class, `correct` (n,) bool. Returns arrays (bins,).
    """
    index = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    count = np.bincount(index, minlength=bins)
    sums = (np.bincount(index, weights, minlength=bins) for weights in (correct, confidence))
    return CalibrationBins(count, *(np.where(count, total / np.maximum(count, 1), np.nan) for total in sums))


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Mean over images of |accuracy - mean confidence| in their bin, 0 to 1; NaN without images.

    Shapes and source as in `calibration_bins`.
    """
    count, accuracy, mean = calibration_bins(confidence, correct, bins)
    used = count > 0
    error = count[used] @ abs(accuracy - mean)[used]
    return float(error / count.sum()) if used.any() else math.nan

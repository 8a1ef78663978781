"""Calibration: comparison of a model's confidence with its accuracy, and temperature scaling.

Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from cifar.runtime.lazy import np

MAX_TEMPERATURE = 100.0
"""Temperatures are sought between its inverse and this."""
TINY = 1.2e-38
"""The smallest normal float32: probabilities that are 0 for rounding count as this."""


class CalibrationBins(NamedTuple):
    """Per bin of confidence: number of images, mean accuracy and mean confidence (NaN in an empty bin)."""

    images: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray


def calibration_bins(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> CalibrationBins:
    """Group images into `bins` equally wide, right-closed bins of confidence.

    `confidence` is (n,), the probability of the predicted class, `correct` (n,) bool. Returns arrays (bins,).
    """
    index = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    count = np.bincount(index, minlength=bins)
    sums = (np.bincount(index, weights, minlength=bins) for weights in (correct, confidence))
    return CalibrationBins(count, *(np.where(count, total / np.maximum(count, 1), np.nan) for total in sums))


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Mean over images of |accuracy - mean confidence| in their bin, 0 to 1; NaN without images.

    Shapes as in `calibration_bins`.
    """
    count, accuracy, mean = calibration_bins(confidence, correct, bins)
    used = count > 0
    error = count[used] @ abs(accuracy - mean)[used]
    return float(error / count.sum()) if used.any() else math.nan


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over images of -log of the probability of their label, in nats.

    `probabilities` is (n, classes), `labels` (n,) int.
    """
    return float(-_logarithms(probabilities)[np.arange(len(labels)), labels].mean())


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(logits / `temperature`) for `probabilities` (n, classes) = softmax(logits), as float64.

    The order of the classes is that of `probabilities`.
    """
    scaled = _logarithms(probabilities) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def best_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the temperature with the least `negative_log_likelihood` of `with_temperature`.

    Shapes as there. None if there is no minimum within the bounds of `MAX_TEMPERATURE`: all images are right, or the
    probabilities are worse than chance.
    """
    from scipy import optimize

    logits = _logarithms(probabilities)
    margins = logits - logits[np.arange(len(labels)), labels][:, None]

    def slope(inverse: float) -> float:
        """The derivative by 1 / temperature, which increases: the likelihood is log-concave in it."""
        powers = np.exp(inverse * margins - (inverse * margins).max(axis=1, keepdims=True))
        return float(((powers * margins).sum(axis=1) / powers.sum(axis=1)).mean())

    low, high = 1 / MAX_TEMPERATURE, MAX_TEMPERATURE
    if not slope(low) < 0 < slope(high):
        return None
    return 1 / optimize.brentq(slope, low, high, xtol=1e-9)


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities.astype(np.float64), TINY))

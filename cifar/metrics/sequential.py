"""The sequential t test: a test and a confidence sequence of a mean that hold however often one looks.

The values are normal with unknown variance; `effect` is the mean, in standard deviations, that the test is to find.
The evidence is the likelihood ratio of the t statistics at `effect` against 0, which does not depend on the variance.
Under mean 0 it is a nonnegative martingale: by Ville's inequality it ever reaches `1 / level` with probability at most
`level`. It is smaller under a lesser mean. Lai, "On confidence sequences", 1976; Pérez-Ortiz et al., "E-statistics,
group invariance and anytime-valid testing", arXiv 2208.07610; Wang and Ramdas, "Anytime-valid t-tests and confidence
sequences for Gaussian means with unknown variance", arXiv 2310.03722.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import optimize, special

FUTILE = 0.15
"""Likelihood ratio below which means of `effect` are given up (Wald's lower threshold); it costs power, never level."""
TINY = float(np.finfo(float).tiny)


def overshoot(effect: float) -> float:
    """Factor by which Ville's inequality is too strict, since the ratio overshoots its threshold.

    An upper bound of `P(the ratio ever reaches c) * c` under mean 0, which is 0.73 for effect 1 and tends to 1 for
    small effects (benchmarks/races.py). Siegmund, "Sequential Analysis", 1985, chapter 8; Fischer and Ramdas,
    "Improving Wald's (approximate) sequential probability ratio test by avoiding overshoot", arXiv 2410.16076.
    """
    return 1 - 0.2 * min(effect, 1.0)


def log_ratio(scaled_sum: np.ndarray | float, size: int, effect: float) -> np.ndarray:
    """Log of the likelihood ratio of `size` values, from their sum divided by the root of their sum of squares."""
    y = effect * np.asarray(scaled_sum, float)
    z = y * y / 2
    gammas = math.exp(math.lgamma((size + 1) / 2) - math.lgamma(size / 2))
    even = special.hyp1f1(size / 2, 0.5, z)
    odd = math.sqrt(2) * y * gammas * special.hyp1f1((size + 1) / 2, 1.5, z)
    return np.log(np.maximum(even + odd, TINY)) - size * effect**2 / 2  # near 0 the sum cancels


def log_ratios(values: np.ndarray | Sequence[float], effect: float) -> np.ndarray:
    """`log_ratio` after each of `values`, (…, n); 0 as long as all are 0."""
    array = np.asarray(values, float)
    squares = np.cumsum(array**2, axis=-1)
    scaled = np.divide(np.cumsum(array, axis=-1), np.sqrt(squares), out=np.zeros_like(array), where=squares > 0)
    ratios = np.empty_like(array)
    for number in range(array.shape[-1]):
        ratios[..., number] = log_ratio(scaled[..., number], number + 1, effect)
    return np.where(squares > 0, ratios, 0.0)


def p_values(ratios: np.ndarray, effect: float) -> np.ndarray:
    """Anytime-valid p values, (…, n), of the hypothesis that the mean is at most 0, from `log_ratios`.

    They never rise, and ever reach a level with at most this probability.
    """
    return np.minimum.accumulate(np.minimum(1.0, overshoot(effect) * np.exp(np.minimum(-ratios, 1.0))), axis=-1)


@lru_cache(maxsize=4096)
def critical_value(size: int, level: float, effect: float) -> float:
    """The t statistic of `size` values whose likelihood ratio gives the p value `level`; infinite where none does."""
    threshold, largest = math.log(overshoot(effect) / level), math.sqrt(size)
    if size < 2 or log_ratio(largest, size, effect) <= threshold:
        return math.inf
    # The ratio rises with the sum, and is less than 1 where this is 0.
    scaled = optimize.brentq(lambda s: float(log_ratio(s, size, effect)) - threshold, 0.0, largest)
    return float(scaled * math.sqrt((size - 1) / (size - scaled**2)))


def confidence_sequence(values: Sequence[float] | np.ndarray, level: float, effect: float) -> np.ndarray:
    """Lower and upper bounds of the mean, (n, 2), after each of `values`; they never widen.

    The probability that the mean is ever below the lower bound is at most `level`, and so for the upper one.
    """
    array = np.asarray(values, float)
    means, reaches = np.empty(len(array)), np.full(len(array), np.inf)
    for number in range(len(array)):
        means[number] = array[: number + 1].mean()
        if math.isfinite(critical := critical_value(number + 1, level, effect)):
            reaches[number] = critical * array[: number + 1].std(ddof=1) / math.sqrt(number + 1)
    return np.stack([np.maximum.accumulate(means - reaches), np.minimum.accumulate(means + reaches)], axis=1)

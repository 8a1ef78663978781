"""Confidence intervals, McNemar's test, and Holm's correction for multiple tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 9999
FEW_DISCORDANT = 25
"""With at least this many discordant pairs, the chi-squared distribution approximates the binomial one well."""


class Interval(NamedTuple):
    """A confidence interval of level `LEVEL`; NaN if there are too few values."""

    low: float
    high: float


class Aggregate(NamedTuple):
    """Statistics of the values of one setting, one per seed; `deviation` is the sample's (n - 1)."""

    size: int
    mean: float
    deviation: float
    interval: Interval


class McNemar(NamedTuple):
    """Result of McNemar's test of two classifiers on the same images; `exact` is True for the binomial distribution."""

    statistic: float
    p: float
    exact: bool


UNKNOWN = Interval(math.nan, math.nan)


def wilson_interval(successes: int, trials: int) -> Interval:
    """Confidence interval of a proportion, such as an accuracy.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927; it keeps its level where the
    proportion is near 0 or 1, unlike the normal approximation and the bootstrap (Brown, Cai and DasGupta, "Interval
    estimation for a binomial proportion", 2001).
    """
    if not trials:
        return UNKNOWN
    return Interval(*stats.binomtest(successes, trials).proportion_ci(LEVEL, method="wilson"))


def paired_difference_interval(only_first: int, only_second: int, trials: int) -> Interval:
    """Confidence interval of the difference, first minus second, of two proportions on the same `trials` images.

    `only_first` is the number of images that only the first classifies correctly. Wald's interval with half an
    observation added to each cell of the table (Agresti and Min, "Simple improved confidence intervals for comparing
    matched proportions", 2005).
    """
    if not trials:
        return UNKNOWN
    first, second, n = only_first + 0.5, only_second + 0.5, trials + 2
    difference = (first - second) / n
    reach = stats.norm.ppf((1 + LEVEL) / 2) * math.sqrt(((first + second) / n - difference**2) / n)
    return Interval(max(-1.0, difference - reach), min(1.0, difference + reach))


def bootstrap_interval(values: Sequence[float], others: Sequence[float] | None = None) -> Interval:
    """Percentile bootstrap interval of the mean of `values`, or of its difference to the mean of `others`.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. The random numbers are fixed. NaN for
    fewer than two values of either. The interval of few values is too narrow: with five, it contains the true mean in
    83 % of cases.
    """
    samples = [np.asarray(sample, float) for sample in (values, others) if sample is not None]
    if min(map(len, samples)) < 2:
        return UNKNOWN
    result = stats.bootstrap(samples, _mean_difference, n_resamples=RESAMPLES, confidence_level=LEVEL,
                             method="percentile", vectorized=True, rng=np.random.default_rng(0))  # fmt: skip
    return Interval(*map(float, result.confidence_interval))


def aggregate(values: Sequence[float]) -> Aggregate:
    """Count, mean, standard deviation (NaN for a single value) and `bootstrap_interval` of one or more values."""
    array = np.asarray(values, float)
    deviation = float(array.std(ddof=1)) if len(array) > 1 else math.nan
    return Aggregate(len(array), float(array.mean()), deviation, bootstrap_interval(values))


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """Test if two classifiers have equal accuracy, by the images that only one of them classifies correctly.

    McNemar, "Note on the sampling error of the difference between correlated proportions or percentages", 1947; for
    classifiers: Dietterich, "Approximate statistical tests for comparing supervised classification learning
    algorithms", 1998. Exact for fewer than `FEW_DISCORDANT` discordant images, else chi-squared with Edwards's
    continuity correction.
    """
    discordant = only_first + only_second
    if discordant < FEW_DISCORDANT:
        fewer = min(only_first, only_second)
        return McNemar(float(fewer), min(1.0, float(2 * stats.binom.cdf(fewer, discordant, 0.5))), True)
    statistic = (abs(only_first - only_second) - 1) ** 2 / discordant
    return McNemar(statistic, float(stats.chi2.sf(statistic, 1)), False)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct p values, (n,), so that the family-wise error rate is at most the level of a single test.

    Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    given = np.asarray(p_values, float)
    order = np.argsort(given, kind="stable")
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(1, np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1)))
    return corrected


def _mean_difference(first: np.ndarray, *second: np.ndarray, axis: int) -> np.ndarray:
    return first.mean(axis) - (second[0].mean(axis) if second else 0)

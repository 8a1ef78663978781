"""Confidence intervals of values and proportions, McNemar's test, and Holm's correction for multiple tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

LEVEL = 0.95
FEW_DISCORDANT = 25
"""With at least this many discordant pairs, the chi-squared distribution approximates the binomial one well."""


class Interval(NamedTuple):
    """A confidence interval of level `LEVEL`; NaN if the values do not give one."""

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
    reach = special.ndtri((1 + LEVEL) / 2) * math.sqrt(((first + second) / n - difference**2) / n)
    return Interval(max(-1.0, difference - reach), min(1.0, difference + reach))


def student_interval(values: ArrayLike) -> Interval:
    """Confidence interval of the mean of normally distributed `values` (…, n), such as one a seed, by Student's t.

    Student, "The probable error of a mean", 1908. NaN for fewer than two values, and for values that are all equal:
    they do not show how far others may lie. For skewed values it covers the mean less often (docs/comparison.md).
    """
    sample = np.asarray(values, float)
    size = sample.shape[-1]
    return _t_interval(sample.mean(axis=-1), deviation(sample) ** 2 / size, size - 1)


def welch_interval(values: ArrayLike, others: ArrayLike) -> Interval:
    """Confidence interval of the difference in mean, `values` minus `others`, of independent samples (…, n), (…, m).

    The variances of the two may differ (Welch, "The generalization of 'Student's' problem when several different
    population variances are involved", 1947); see `degrees_of_freedom`. NaN for fewer than two values of either, and
    where all values of each are equal.
    """
    samples = [np.asarray(sample, float) for sample in (values, others)]
    sizes = [sample.shape[-1] for sample in samples]
    variances = [deviation(sample) ** 2 / size for sample, size in zip(samples, sizes, strict=True)]
    center = samples[0].mean(axis=-1) - samples[1].mean(axis=-1)
    return _t_interval(center, sum(variances), degrees_of_freedom(variances, sizes))


def degrees_of_freedom(variances: ArrayLike, sizes: ArrayLike, known: float = 0.0) -> np.ndarray:
    """Degrees of freedom (…) of the sum of the `variances` (k, …) of means of k samples, and of a `known` variance.

    `sizes` (k, …) are those of the samples. Satterthwaite, "An approximate distribution of estimates of variance
    components", 1946. For samples of equal size this is Welch's number. A small sample may have a small variance by
    chance, and the number is then too great: with 2 and 10 values, Welch's interval of 95 % covers 88 %. So each
    variance counts as much here as the upper end of its one-sided confidence interval of 90 %. NaN for a sample of one.
    """
    parts, freedom = np.asarray(variances, float), np.asarray(sizes, float) - 1
    bounds = freedom / special.chdtri(freedom, 0.9)
    weights = np.expand_dims(bounds / bounds.min(axis=0), tuple(range(bounds.ndim, parts.ndim)))
    parts = parts * weights
    spread = (parts**2 / freedom.reshape(weights.shape)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread == 0, np.inf, (parts.sum(axis=0) + known) ** 2 / spread)


def deviation(values: ArrayLike) -> np.ndarray:
    """Standard deviation (…) of samples (…, n), with n - 1: NaN of a single value, 0 of values equal up to rounding."""
    sample = np.asarray(values, float)
    if sample.shape[-1] < 2:
        return np.full(sample.shape[:-1], np.nan)
    is_spread = np.ptp(sample, axis=-1) > 1e-12 * np.abs(sample).max(axis=-1)
    return np.where(is_spread, sample.std(axis=-1, ddof=1), 0.0)


def aggregate(values: Sequence[float]) -> Aggregate:
    """Count, mean, `deviation` and `student_interval` of one or more values."""
    interval = Interval(*map(float, student_interval(values)))
    return Aggregate(len(values), float(np.mean(values)), float(deviation(values)), interval)


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


def _t_interval(center: Any, variance: Any, freedom: Any) -> Interval:
    """Of numbers or arrays; NaN where the variance of the center is 0 or NaN."""
    reach = special.stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(np.where(variance > 0, variance, np.nan))
    return Interval(center - reach, center + reach)

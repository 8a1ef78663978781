"""How far a result can be trusted: intervals, a paired test, and its correction for many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 9999
FEW_DISCORDANT = 25
"""From this many discordant pairs on, the chi-squared distribution is near enough to the binomial one."""


class Interval(NamedTuple):
    """A confidence interval of level `LEVEL`; NaN where there is too little to tell one."""

    low: float
    high: float


class Aggregate(NamedTuple):
    """What the values of one setting, one a seed, say together; `deviation` is that of the sample (n - 1)."""

    size: int
    mean: float
    deviation: float
    interval: Interval


class McNemar(NamedTuple):
    """McNemar's test of two classifiers on the same images; `exact` is whether by the binomial distribution."""

    statistic: float
    p: float
    exact: bool


UNKNOWN = Interval(math.nan, math.nan)


def wilson_interval(successes: int, trials: int) -> Interval:
    """The interval of a proportion such as an accuracy.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927; it keeps its level where the
    proportion is near 0 or 1, unlike the normal approximation and the bootstrap (Brown, Cai and DasGupta, "Interval
    estimation for a binomial proportion", 2001).
    """
    if not trials:
        return UNKNOWN
    return Interval(*stats.binomtest(successes, trials).proportion_ci(LEVEL, method="wilson"))


def paired_difference_interval(only_first: int, only_second: int, trials: int) -> Interval:
    """The interval of the difference, first less second, of two proportions on the same `trials` images.

    `only_first` is the number of images that only the first gets right. Wald's interval after half an observation is
    added to each cell of the table (Agresti and Min, "Simple improved confidence intervals for comparing matched
    proportions", 2005).
    """
    if not trials:
        return UNKNOWN
    first, second, n = only_first + 0.5, only_second + 0.5, trials + 2
    difference = (first - second) / n
    reach = stats.norm.ppf((1 + LEVEL) / 2) * math.sqrt(((first + second) / n - difference**2) / n)
    return Interval(max(-1.0, difference - reach), min(1.0, difference + reach))


def bootstrap_interval(values: Sequence[float], others: Sequence[float] | None = None) -> Interval:
    """The percentile bootstrap interval of the mean of `values`, or of that less the mean of `others`.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. The random numbers are always the same
    ones. Unknown for fewer than two values of either. Of few values it is too short: of five, it holds the true mean in
    83 % of cases.
    """
    samples = [np.asarray(sample, float) for sample in (values, others) if sample is not None]
    if min(map(len, samples)) < 2:
        return UNKNOWN
    result = stats.bootstrap(samples, _mean_difference, n_resamples=RESAMPLES, confidence_level=LEVEL,
                             method="percentile", vectorized=True, rng=np.random.default_rng(0))  # fmt: skip
    return Interval(*map(float, result.confidence_interval))


def aggregate(values: Sequence[float]) -> Aggregate:
    """Count, mean, standard deviation (NaN of a single value) and `bootstrap_interval` of one value or more."""
    array = np.asarray(values, float)
    deviation = float(array.std(ddof=1)) if len(array) > 1 else math.nan
    return Aggregate(len(array), float(array.mean()), deviation, bootstrap_interval(values))


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """Whether two classifiers are right on the same images equally often, by the images that only one gets right.

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
    """The p values, (n,), corrected so that the chance of any false finding among all stays at the level of each.

    Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    given = np.asarray(p_values, float)
    order = np.argsort(given, kind="stable")
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(1, np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1)))
    return corrected


def _mean_difference(first: np.ndarray, *second: np.ndarray, axis: int) -> np.ndarray:
    return first.mean(axis) - (second[0].mean(axis) if second else 0)

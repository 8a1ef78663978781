"""Intervals and tests against SciPy's and statsmodels' on the same data, and how often intervals hold."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cifar.metrics import statistics

COUNTS = st.integers(0, 2000)
VALUES = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=6)


class TestWilson:
    # statsmodels 0.15.0: proportion_confint(successes, trials, method="wilson")
    @pytest.mark.parametrize(
        ("successes", "trials", "low", "high"),
        [
            (0, 10, 0.0, 0.27753279986288926),
            (5, 10, 0.23659309051256394, 0.7634069094874361),
            (10, 10, 0.7224672001371106, 1.0),
            (7703, 10000, 0.761952744650154, 0.7784396658306583),
            (355, 360, 0.9679041504124477, 0.9940532942791003),
        ],
    )
    def test_equals_statsmodels(self, successes, trials, low, high):
        assert statistics.wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-12)

    @settings(deadline=None)
    @given(COUNTS, COUNTS)
    def test_holds_the_proportion_and_stays_within_0_and_1(self, right, wrong):
        low, high = statistics.wilson_interval(right, right + wrong)
        if right + wrong == 0:
            assert math.isnan(low) and math.isnan(high)
        else:
            assert 0 <= low <= right / (right + wrong) + 1e-12
            assert right / (right + wrong) - 1e-12 <= high <= 1


class TestPairedDifference:
    def test_equals_the_normal_interval_of_the_mean_difference_of_many_images(self):
        differences = np.repeat([1, -1, 0], [900, 600, 98_500])
        low, high = stats.norm.interval(0.95, differences.mean(), stats.sem(differences))
        assert statistics.paired_difference_interval(900, 600, 100_000) == pytest.approx((low, high), abs=2e-5)

    def test_holds_its_level_for_few_discordant_images(self):
        only_first, only_second, trials = 0.03, 0.02, 300
        drawn = np.random.default_rng(0).multinomial(trials, [only_first, only_second, 0.95], size=4000)
        intervals = [statistics.paired_difference_interval(int(b), int(c), trials) for b, c, _ in drawn]
        held = np.mean([low <= only_first - only_second <= high for low, high in intervals])
        assert held == pytest.approx(0.95, abs=0.02)

    @settings(deadline=None)
    @given(COUNTS, COUNTS, COUNTS)
    def test_of_the_two_the_other_way_round_is_its_mirror(self, first, second, neither):
        trials = first + second + neither
        low, high = statistics.paired_difference_interval(first, second, trials)
        if trials:
            assert statistics.paired_difference_interval(second, first, trials) == pytest.approx((-high, -low))
            assert -1 <= low <= (first - second) / (trials + 2) <= high <= 1


def covered(intervals: statistics.Interval, value: float) -> float:
    """The share of the intervals that contain the value."""
    low, high = intervals
    return float(((low <= value) & (value <= high)).mean())


class TestStudent:
    @pytest.mark.parametrize("values", [[0.1, 0.4], [0.70, 0.71, 0.74], [0.5, 0.1, 0.9, 0.3, 0.31]])
    def test_equals_scipys(self, values):
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert statistics.student_interval(values) == pytest.approx(tuple(expected))

    @pytest.mark.parametrize("size", [2, 3, 5, 10])
    def test_covers_the_mean_of_normal_values_in_94_to_96_of_100_cases(self, size):
        samples = np.random.default_rng(size).normal(0.9, 0.01, (40_000, size))
        assert 0.94 <= covered(statistics.student_interval(samples), 0.9) <= 0.96

    @pytest.mark.parametrize("values", [[0.5], [355 / 360] * 3])
    def test_values_that_show_no_spread_give_nan(self, values):
        assert all(map(math.isnan, statistics.student_interval(values)))

    @settings(deadline=None)
    @given(VALUES)
    def test_lies_around_the_mean(self, values):
        low, high = statistics.student_interval(values)
        assert math.isnan(low) or low < np.mean(values) < high


class TestWelch:
    @pytest.mark.parametrize("others", [[0.66, 0.69, 0.68, 0.61], [0.5, 0.1, 0.9, 0.3]])
    def test_equals_scipys_for_samples_of_one_size(self, others):
        values = [0.70, 0.71, 0.74, 0.69]
        expected = stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
        assert statistics.welch_interval(values, others) == pytest.approx(tuple(expected))

    @pytest.mark.parametrize("ratio", [1, 2, 3])
    @pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (5, 5), (10, 10), (2, 10), (10, 2), (3, 10), (5, 2)])
    def test_covers_the_difference_in_at_least_94_of_100_cases(self, sizes, ratio):
        rng = np.random.default_rng((*sizes, ratio))
        first, second = rng.normal(0.9, 0.01 * ratio, (40_000, sizes[0])), rng.normal(0.8, 0.01, (40_000, sizes[1]))
        assert covered(statistics.welch_interval(first, second), 0.1) >= 0.94

    @pytest.mark.parametrize("samples", [([0.5], [0.1, 0.2]), ([0.1, 0.2], [0.5]), ([1, 1], [2, 2])])
    def test_samples_that_show_no_spread_give_nan(self, samples):
        assert all(map(math.isnan, statistics.welch_interval(*samples)))

    def test_one_sample_without_spread_leaves_the_other_ones(self):
        low, high = statistics.welch_interval([0.5, 0.5, 0.5], [0.1, 0.2, 0.3])
        assert (low - 0.5, high - 0.5) == pytest.approx(
            tuple(-end for end in statistics.student_interval([0.1, 0.2, 0.3])[::-1])
        )

    @settings(deadline=None)
    @given(VALUES, VALUES)
    def test_is_its_mirror_the_other_way_round(self, values, others):
        low, high = statistics.welch_interval(values, others)
        assert statistics.welch_interval(others, values) == pytest.approx((-high, -low), nan_ok=True)


class TestAggregate:
    def test_of_several(self):
        found = statistics.aggregate([0.70, 0.74, 0.72])
        assert found[:3] == pytest.approx((3, 0.72, 0.02))
        assert found.interval == statistics.student_interval([0.70, 0.74, 0.72])

    def test_of_one(self):
        found = statistics.aggregate([0.7])
        assert found[:2] == (1, 0.7)
        assert all(map(math.isnan, (found.deviation, *found.interval)))

    def test_equal_values_have_no_deviation(self):
        found = statistics.aggregate([355 / 360] * 3)
        assert (found.mean, found.deviation) == (pytest.approx(355 / 360), 0)


class TestMcNemar:
    # statsmodels 0.15.0: mcnemar([[0, first], [second, 0]], exact=first + second < 25, correction=True)
    @pytest.mark.parametrize(
        ("first", "second", "statistic", "p", "exact"),
        [
            (0, 0, 0.0, 1.0, True),
            (3, 1, 1.0, 0.625, True),
            (5, 0, 0.0, 0.0625, True),
            (12, 12, 12.0, 1.0, True),
            (20, 4, 4.0, 0.001543879508972168, True),
            (13, 12, 0.0, 1.0, False),
            (40, 40, 0.0125, 0.910979292510634, False),
            (121, 59, 20.67222222222222, 5.450094825427117e-06, False),
            (812, 1120, 48.783126293995856, 2.8588885450645204e-12, False),
        ],
    )
    def test_equals_statsmodels(self, first, second, statistic, p, exact):
        assert statistics.mcnemar(first, second) == pytest.approx((statistic, p, exact), rel=1e-9)

    @settings(deadline=None)
    @given(st.integers(0, 24).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    def test_exact_one_equals_scipys_binomial_test(self, drawn):
        fewer, discordant = drawn
        found = statistics.mcnemar(fewer, discordant - fewer)
        assert found.exact
        assert found.p == pytest.approx(stats.binomtest(fewer, discordant, 0.5).pvalue if discordant else 1)

    @settings(deadline=None)
    @given(COUNTS, COUNTS)
    def test_is_the_same_the_other_way_round(self, first, second):
        found = statistics.mcnemar(first, second)
        assert found == statistics.mcnemar(second, first)
        assert 0 <= found.p <= 1
        assert found.exact == (first + second < 25)


class TestHolm:
    # statsmodels 0.15.0: multipletests(p, method="holm")[1]
    @pytest.mark.parametrize(
        ("given_p", "corrected"),
        [
            ([0.01], [0.01]),
            ([0.04, 0.01, 0.03], [0.06, 0.03, 0.06]),
            ([0.5, 0.0001, 0.02, 0.02, 1.0, 0.3], [1.0, 0.0006, 0.1, 0.1, 1.0, 0.9]),
            ([0.9, 0.8], [1.0, 1.0]),
        ],
    )
    def test_equals_statsmodels(self, given_p, corrected):
        assert statistics.holm(given_p).tolist() == pytest.approx(corrected)

    @settings(deadline=None)
    @given(st.lists(st.floats(0, 1), max_size=12), st.randoms(use_true_random=False))
    def test_keeps_the_order_and_lies_between_p_and_bonferroni(self, p_values, random):
        corrected = statistics.holm(p_values)
        order = random.sample(range(len(p_values)), len(p_values))
        assert statistics.holm([p_values[i] for i in order]).tolist() == [corrected[i] for i in order]
        for (p, q), (other_p, other_q) in itertools.combinations(zip(p_values, corrected, strict=True), 2):
            assert p <= q <= min(1, len(p_values) * p) + 1e-12
            assert q <= other_q if p <= other_p else q >= other_q

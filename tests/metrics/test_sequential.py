"""The sequential t test: the evidence, its p values and bounds, and how often they are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cifar.metrics import sequential

RACES, SEEDS = 1000, 20


def ever_rejected(values: np.ndarray, level: float, effect: float = 1.0) -> np.ndarray:
    """For each row of `values`, after how many the p value is at most `level`; more than all where it never is."""
    rejected = sequential.p_values(sequential.log_ratios(values, effect), effect) <= level
    return np.where(rejected.any(axis=1), rejected.argmax(axis=1) + 1, values.shape[1] + 1)


@pytest.mark.parametrize("effect", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("values", [(0.3, 1.1), (1, -0.5, 0.2, 2, 0.7), tuple(np.linspace(-1, 2, 30))])
def test_ratio_is_that_of_the_noncentral_t_distributions(values, effect):
    size = len(values)
    t = stats.ttest_1samp(values, 0).statistic
    expected = stats.nct.logpdf(t, size - 1, effect * np.sqrt(size)) - stats.t.logpdf(t, size - 1)
    assert sequential.log_ratios(values, effect)[-1] == pytest.approx(expected, abs=1e-6)


def test_unit_does_not_matter_and_equal_values_say_nothing():
    values = np.random.default_rng(0).normal(0.5, 1, 12)
    np.testing.assert_allclose(sequential.log_ratios(values, 1), sequential.log_ratios(1e-4 * values, 1))
    assert not sequential.log_ratios(np.zeros(5), 1).any()


def test_p_values_never_rise():
    p = sequential.p_values(sequential.log_ratios(np.random.default_rng(1).normal(0.5, 1, (50, 30)), 1), 1)
    assert (np.diff(p) <= 0).all() and (p > 0).all() and (p <= 1).all()


@pytest.mark.parametrize("level", [0.025, 0.001])
def test_bounds_exclude_zero_when_the_test_rejects(level):
    values = np.random.default_rng(2).normal(1, 1, (40, SEEDS))
    rejected = ever_rejected(values, level)
    low = np.array([sequential.confidence_sequence(row, level, 1.0)[:, 0] > 0 for row in values])
    assert (np.where(low.any(axis=1), low.argmax(axis=1) + 1, SEEDS + 1) == rejected).all()
    assert (rejected <= SEEDS).any()


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, shape: rng.standard_normal(shape),
        lambda rng, shape: rng.standard_t(3, shape),
        lambda rng, shape: rng.exponential(1, shape) - rng.exponential(1, shape),
    ],
    ids=["normal", "heavy tails", "of two skewed values"],
)
def test_at_most_5_percent_of_null_races_have_a_false_verdict_whenever_one_looks(draw):
    values = draw(np.random.default_rng(3), (RACES, SEEDS))
    either = np.minimum(ever_rejected(values, 0.025), ever_rejected(-values, 0.025))
    assert (either <= SEEDS).mean() <= 0.05


def test_bounds_hold_the_mean_at_all_times():
    values = np.random.default_rng(4).normal(3, 2, (RACES, SEEDS))
    bounds = np.array([sequential.confidence_sequence(row, 0.025, 1.0) for row in values])
    assert ((bounds[..., 0] <= 3) & (bounds[..., 1] >= 3)).all(axis=1).mean() >= 0.95


def test_overshoot_is_an_upper_bound():
    values = np.random.default_rng(5).standard_normal((5000, 60))
    assert (ever_rejected(values, 0.05) <= 60).mean() <= 0.05

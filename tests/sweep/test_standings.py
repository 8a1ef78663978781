"""The verdicts of races: how often they are wrong, how soon they come, and what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cifar.sweep.standings import Rules, Standing, judge

SEEDS = 20


def race(values: np.ndarray, metric: str = "val/accuracy", **settings: float) -> Standing:
    """The race of contenders `a`, `b`, …, whose values are the rows, (contenders, seeds)."""
    seeds = range(values.shape[1])
    return judge({chr(97 + row): dict(zip(seeds, values[row], strict=True)) for row in range(len(values))},
                 Rules(metric, seeds, **settings))  # fmt: skip


def races(means: list[float], count: int, seed: int = 0, **settings: float) -> list[Standing]:
    noise = np.random.default_rng(seed).standard_normal((count, len(means), SEEDS))
    return [race(one + np.array(means)[:, None], **settings) for one in noise]


def fixed_seeds(effect: float, power: float) -> int:
    """The least number of seeds with which the paired t test of level 5 % finds `effect` with this power."""

    def reached(size: int) -> float:
        return float(stats.nct.sf(stats.t.ppf(0.975, size - 1), size - 1, effect * np.sqrt(size)))

    return next(size for size in range(2, 1000) if reached(size) >= power)


@pytest.mark.parametrize(("contenders", "count"), [(2, 1000), (4, 200)])
def test_at_most_5_percent_of_null_races_put_anyone_out(contenders, count):
    found = races([0.0] * contenders, count)
    assert np.mean([bool(one.out) for one in found]) <= 0.05
    assert {one.verdict for one in found} <= {"better", "undecided"}


def test_best_contenders_that_tie_are_put_out_in_at_most_5_percent():
    found = races([1.0, 1.0, 0.0, -1.0], 200)
    assert np.mean(["a" in one.out or "b" in one.out for one in found]) <= 0.05


def test_takes_a_fifth_fewer_seeds_than_a_fixed_number_of_the_same_power():
    # The difference of two values with deviation 1 has the deviation √2.
    found = races([np.sqrt(2), 0.0], 1000)
    assert np.mean([one.verdict == "better" and one.remaining == ("a",) for one in found]) >= 0.9
    assert np.mean([one.size for one in found]) <= 0.8 * fixed_seeds(1.0, power=0.9)


def test_best_of_several_is_found():
    found = races([3.0, 0.0, 0.0, 0.0], 50)
    assert np.mean([one.remaining == ("a",) for one in found]) >= 0.9
    assert all(one.out.keys() == {"b", "c", "d"} for one in found if one.remaining == ("a",))


class TestMargin:
    def test_makes_equal_contenders_equivalent(self):
        found = races([0.0, 0.0], 100, margin=2.0)
        assert np.mean([one.verdict == "equivalent" for one in found]) >= 0.9

    def test_does_not_make_different_ones_equivalent(self):
        found = races([1.5, 0.0], 100, margin=1.5)
        assert np.mean([one.verdict == "equivalent" for one in found]) <= 0.05

    def test_that_is_too_small_for_the_budget_keeps_no_race_going(self):
        assert np.mean([one.size for one in races([0.0, 0.0], 100, margin=0.1)]) < 12


DIFFERENT = np.array(
    [[0.90, 0.91, 0.92, 0.90, 0.93, 0.91, 0.92, 0.90], [0.80, 0.82, 0.81, 0.80, 0.82, 0.81, 0.80, 0.82]]
)


@pytest.mark.parametrize(("metric", "best"), [("val/accuracy", "a"), ("val/loss", "b")])
def test_better_is_what_the_metric_says(metric, best):
    assert race(DIFFERENT, metric).remaining == (best,)


def test_looks_only_at_seeds_that_all_remaining_contenders_have():
    values = {"a": dict(enumerate(DIFFERENT[0])), "b": dict(enumerate(DIFFERENT[1][:4]))}
    standing = judge(values, Rules("val/accuracy", range(SEEDS)))
    assert (standing.size, standing.verdict, standing.out) == (4, "", {})


def test_verdict_stays_when_the_budget_grows():
    values = {"a": dict(enumerate(DIFFERENT[0])), "b": dict(enumerate(DIFFERENT[1]))}
    few, more = (judge(values, Rules("val/accuracy", range(seeds))) for seeds in (3, SEEDS))
    assert (few.verdict, few.reason, few.size) == ("undecided", "the budget is spent", 3)
    assert (more.verdict, more.remaining) == ("better", ("a",))


def test_contender_whose_job_fails_takes_no_further_part():
    values = np.vstack([DIFFERENT, DIFFERENT[1] - 0.001])
    values[0, 2] = np.nan
    standing = race(values)
    assert (standing.failed, "a" in standing.out) == (("a",), False)
    assert race(values[:2]).verdict == "undecided"


def test_equal_results_are_no_evidence():
    assert race(np.ones((2, SEEDS))).verdict == "undecided"

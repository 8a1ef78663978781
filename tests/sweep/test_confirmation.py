"""What the confirmation of a sweep reports, and that it promises nothing where there is nothing: 200 null sweeps."""

from __future__ import annotations

import numpy as np
import pytest

from cifar.sweep import confirmation
from cifar.sweep.confirmation import Confirmation
from cifar.sweep.jobs import Job, Outcome

SWEEPS, SETTINGS, SEEDS = 200, 20, 3
METRICS = {"val/loss": "best/loss", "val/accuracy": "best/accuracy"}


def outcome(metric: str, value: float, *overrides: str, confirms: str = "") -> Outcome:
    return Outcome(Job(" ".join(overrides), overrides, confirms=confirms), "FINISHED", metrics={METRICS[metric]: value})


def confirmed(metric: str, values: np.ndarray, fresh: np.ndarray) -> Confirmation:
    """The confirmation of the best of a sweep with these `values`; the runs of it have the `fresh` ones."""
    jobs = [outcome(metric, value, f"optimizer.lr={n}") for n, value in enumerate(values)]
    (best,) = confirmation.ranked(jobs, metric)[0]
    jobs += [outcome(metric, value, *best.job.overrides, f"seed={n}", confirms=best.job.name)
             for n, value in enumerate(fresh)]  # fmt: skip
    (found,) = confirmation.confirmations(jobs, metric)
    return found


@pytest.mark.parametrize("metric", METRICS)
def test_null_sweeps_gain_nothing(metric):
    """All settings of a sweep are equal, so each gain is chance; the sweeps' own figures do promise one."""
    random = np.random.default_rng(0)
    values, fresh = random.normal(size=(SWEEPS, SETTINGS)), random.normal(size=(SWEEPS, SEEDS))
    found = [confirmed(metric, *sweep) for sweep in zip(values, fresh, strict=True)]
    gains, optimism = (np.array([getattr(one, name).mean for one in found]) for name in ("gain", "optimism"))

    def error(sample: np.ndarray) -> float:
        return sample.std(ddof=1) / np.sqrt(SWEEPS)

    assert abs(gains.mean()) < 2 * error(gains)
    assert error(gains) < 0.05
    expected = 1.867  # of the greatest of 20 standard normal values
    assert optimism.mean() == pytest.approx(expected, abs=3 * error(optimism))
    promised = np.array([abs(one.value - one.median) for one in found])
    assert promised.mean() - 3 * error(promised) > 1.5


def test_real_gain_is_reported():
    values = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    found = confirmed("val/accuracy", values, np.array([0.84, 0.86, 0.85]))
    assert (found.setting, found.value, found.median) == ("optimizer.lr=4", 0.9, 0.7)
    assert found.confirmed.mean == pytest.approx(0.85)
    assert found.optimism.mean == pytest.approx(0.05)
    assert found.gain.mean == pytest.approx(0.15)
    (row,) = confirmation.rows([found], "val/accuracy")
    assert row["val/accuracy in the sweep"] == 0.9 and row["gain over the median"] == pytest.approx(0.15)
    assert "0.9000 in the sweep and 0.8500 on fresh seeds: optimism 0.0500" in " ".join(
        confirmation.report([found], "val/accuracy").split()
    )


def test_setting_with_several_seeds_counts_by_its_mean():
    values = {"optimizer.lr=1": (0.1, 0.9), "optimizer.lr=2": (0.4, 0.4)}
    jobs = [outcome("val/loss", value, setting, f"seed={n}") for setting, both in values.items()
            for n, value in enumerate(both)]  # fmt: skip
    first, _ = confirmation.ranked(jobs, "val/loss")
    assert [one.job.name for one in first] == ["optimizer.lr=2 seed=0", "optimizer.lr=2 seed=1"]


def test_seeds_are_fresh():
    jobs = [outcome("val/loss", 0.0, "seed=1000"), outcome("val/loss", 0.0, "data.val_seed=1001", "seed=7")]
    assert confirmation.fresh_seeds(jobs, 1003, 3) == [1002, 1004, 1005]

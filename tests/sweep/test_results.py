"""Which metrics of a sweep's jobs are shown, and their means over the seeds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cifar.sweep import results
from cifar.sweep.jobs import Job, Outcome

CLASSIFICATION = {"best/epoch": 3, "best/loss": 0.5, "best/accuracy": 0.8, "test/loss": 0.6, "test/accuracy": 0.7,
                  "test/kappa": 0.6}  # fmt: skip
DETECTION = {"best/epoch": 3, "best/loss": 0.5, "best/positive_accuracy": 0.8, "test/loss": 0.6, "test/map": 0.3,
             "test/ar100": 0.4}  # fmt: skip


def finished(*overrides: str, loss: float) -> Outcome:
    return Outcome(Job(" ".join(overrides), overrides), "FINISHED", metrics={"best/loss": loss})


def test_seeds_cuts_and_folds_are_repetitions():
    losses = iter((0.4, 0.6, 0.1, 0.3))
    jobs = [finished(f"optimizer.lr={lr}", draw, loss=next(losses))
            for lr in (1, 2) for draw in ("data.fold=0", "data.fold=1")]  # fmt: skip
    jobs += [finished("optimizer.lr=3", f"data.val_seed={n}", "seed=1", loss=0.9) for n in (5, 6)]
    groups = results.over_seeds(jobs, ["val/loss"])
    assert [(group.settings, group.runs) for group in groups] == [
        ("optimizer.lr=2", 2), ("optimizer.lr=1", 2), ("optimizer.lr=3", 2)
    ]  # fmt: skip
    assert groups[0].metrics["best/loss"].mean == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        (CLASSIFICATION, ["best/epoch", "best/loss", "best/accuracy"]),
        (DETECTION, ["best/epoch", "best/loss", "best/positive_accuracy"]),
    ],
)
def test_are_those_of_the_validation(metrics, shown):
    outcomes = [Outcome(Job(f"seed={seed}", (f"seed={seed}",)), "FINISHED", metrics=metrics) for seed in (1, 2)]
    assert results.metrics(outcomes, ["val/loss"]) == shown
    (group,) = results.over_seeds(outcomes, ["val/loss"])
    assert list(group.metrics) == shown[1:] and group.metrics[shown[-1]].mean == metrics[shown[-1]]
    assert "seeds" in results.report(outcomes, ["val/loss"])


@pytest.mark.parametrize(("columns", "tables"), [(80, 2), (120, 1)])
def test_intervals_are_whole_in_any_terminal(columns, tables, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    outcomes = [
        replace(finished("optimizer=adam model.dropout=0.2", f"seed={seed}", loss=seed),
                metrics={"best/loss": seed, "best/accuracy": seed / 4})
        for seed in (1.0, 2.0)
    ]  # fmt: skip
    _, shown = results.report(outcomes, ["val/loss"]).split("Student's]\n")
    assert "[-4.8531, 7.8531]" in shown and "…" not in shown
    assert max(map(len, shown.splitlines())) <= columns
    assert len(shown.split("\n\n")) == tables


def test_job_without_metrics_is_no_obstacle():
    """As of a job of another sweep whose server went away: they are in the store of that machine."""
    outcomes = [finished(f"optimizer.lr={lr}", f"seed={seed}", loss=0.5) for lr in (1, 2) for seed in (1, 2)]
    outcomes = [replace(outcome, metrics={}) if number in (0, 2, 3) else outcome
                for number, outcome in enumerate(outcomes)]  # fmt: skip
    first, second = results.over_seeds(outcomes, ["val/loss"])
    assert (first.runs, first.metrics["best/loss"].mean) == (2, 0.5)
    assert math.isnan(second.metrics["best/loss"].mean)
    assert results.report(outcomes, ["val/loss"]).count("—") >= 1
    assert results.group_rows([first, second])[0]["best/loss"] == 0.5

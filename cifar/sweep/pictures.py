"""The pictures of a sweep, from what its jobs were given and how they ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cifar import tracking
from cifar.config import objective
from cifar.config.settings import DRAWS
from cifar.plots import sweeps
from cifar.runtime.quiet import silence
from cifar.sweep.jobs import Outcome

ENOUGH = 20
"""Jobs below which fANOVA cannot separate settings that matter from chance."""

HANDED_OVER = ("tracking", "resume")
"""What a job is given though it decides nothing in it."""

UNSET = "–"

Columns = dict[str, list[float] | list[str]]


def record(parent: tracking.SweepRun, outcomes: Sequence[Outcome], objectives: Sequence[str]) -> None:
    """Make those pictures that the `outcomes` have anything to show in, and record them in the `parent`."""
    for metric in objectives:
        suffix = "" if len(objectives) == 1 else f"_{metric.replace('/', '_')}"
        for name, figure in _of_objective(outcomes, metric):
            parent.log_figure(figure, name + suffix)
        histories = {outcome.job.name: parent.child_history(outcome.run_id, metric) for outcome in outcomes
                     if outcome.run_id and metric.startswith("val/")}  # fmt: skip
        if histories := {name: history for name, history in histories.items() if history}:
            figure = sweeps.curves_of_runs(histories, metric, objective.lower_is_better(metric))
            parent.log_figure(figure, f"learning_curves{suffix}")
    if len(objectives) > 1 and (done := [one for one in outcomes if _values(one, objectives)]):
        values, lower = [_values(one, objectives) for one in done], [objective.lower_is_better(m) for m in objectives]
        names = [one.job.name for one in done]
        parent.log_figure(sweeps.pareto_front(np.array(values), objectives, lower, names), "pareto_front")


def importances(params: Columns, values: Sequence[float]) -> dict[str, float]:
    """The share of each setting in the variance of the values, by fANOVA (Hutter et al. 2014).

    Random draws such as the seed are left out. Raises nothing: there are none of fewer than two settings, of fewer than
    `ENOUGH` jobs, or of jobs that all came to the same.
    """
    params = {name: column for name, column in params.items() if name not in DRAWS}
    if len(params) < 2 or len(values) < ENOUGH or len(set(values)) == 1:
        return {}
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    silence("optuna")
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(tuple(dict.fromkeys(column)))
        if isinstance(column[0], str)
        else FloatDistribution(min(column), max(column))
        for name, column in params.items()
    }
    study = optuna.create_study()
    for number, value in enumerate(values):
        own = {name: column[number] for name, column in params.items()}
        study.add_trial(optuna.trial.create_trial(params=own, distributions=distributions, value=value))
    shares = optuna.importance.FanovaImportanceEvaluator(seed=0).evaluate(study)
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()} if total else {}


def varied(outcomes: Sequence[Outcome]) -> Columns:
    """The settings in which the jobs of `outcomes` differ, each with its value in each job.

    Numbers where all are, else texts; a dash where a job does not set it.
    """
    given = [dict(_split(part) for part in one.job.overrides) for one in outcomes]
    keys = [key for key in dict.fromkeys(key for one in given for key in one) if key.split(".")[0] not in HANDED_OVER]
    columns = {key: _column([one.get(key, UNSET) for one in given]) for key in keys}
    return {key: column for key, column in columns.items() if len(set(column)) > 1}


def _of_objective(outcomes: Sequence[Outcome], metric: str) -> Iterator[tuple[str, Any]]:
    lower, reached = objective.lower_is_better(metric), [_values(one, [metric]) for one in outcomes]
    done = [one for one, value in zip(outcomes, reached, strict=True) if value]
    if not done:
        return
    values = [value[0] for value in reached if value]
    yield "history", sweeps.optimization_history([value[0] if value else None for value in reached], metric, lower,
                                                [one.status for one in outcomes])  # fmt: skip
    if params := varied(done):
        yield "slices", sweeps.slices(params, values, metric, lower)
        yield "parallel_coordinates", sweeps.parallel_coordinates(params, values, metric, lower)
        if shares := importances(params, values):
            yield "importance", sweeps.importance(shares, metric, len(done))


def _values(outcome: Outcome, objectives: Sequence[str]) -> list[float]:
    """The objectives of a job; none where one is missing or not finite."""
    values = [objective.value(name, outcome.metrics) for name in objectives] if outcome.status == "FINISHED" else []
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return finite if len(finite) == len(values) else []


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.lstrip("+~").partition("=")
    return key, value


def _column(values: Sequence[str]) -> list[float] | list[str]:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return list(values)
    return numbers if all(map(math.isfinite, numbers)) else list(values)

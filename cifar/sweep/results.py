"""What came of a sweep's jobs, in tables."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cifar.config import objective
from cifar.metrics.statistics import Aggregate, aggregate
from cifar.runtime import terminal
from cifar.sweep.jobs import Outcome

OPTIONAL = ("reason", "seconds", "best/epoch")
"""Columns that a narrow terminal does not show, the first of them first."""


@dataclass(frozen=True)
class Group:
    """Finished jobs that differ in their seed alone: what they share, how many they are, and each metric of them."""

    settings: str
    runs: int
    metrics: Mapping[str, Aggregate]


def ranked(outcomes: Iterable[Outcome], metric: str) -> list[Outcome]:
    """The outcomes, the best by the objective `metric` first and those that have none last."""
    return sorted(outcomes, key=lambda outcome: _rank(metric, objective.value(metric, outcome.metrics)))


def over_seeds(outcomes: Iterable[Outcome], objectives: Sequence[str]) -> list[Group]:
    """The groups, the best mean of the first objective first; none where no two jobs differ in their seed alone."""
    found: dict[tuple[str, ...], dict[str, Outcome]] = {}
    for outcome in outcomes:
        if outcome.status == "FINISHED":
            seed = next((part for part in outcome.job.overrides if part.startswith("seed=")), "")
            found.setdefault(_without_seed(outcome.job.overrides), {})[seed] = outcome  # a search may try one again
    if all(len(group) == 1 for group in found.values()):
        return []
    groups = [_group(list(group.values()), objectives) for group in found.values()]
    return sorted(groups, key=lambda group: _rank(objectives[0], objective.value(objectives[0], _means(group))))


def rows(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each outcome: the job, how it ended, its metrics (see `metrics`), seconds, run and reason."""
    names = metrics(outcomes, objectives)
    return [
        {
            "job": outcome.job.name,
            "status": outcome.status,
            **{name: outcome.metrics.get(name, "") for name in names},
            "seconds": round(outcome.seconds, 1),
            "run": outcome.run_id,
            "reason": outcome.reason,
        }
        for outcome in outcomes
    ]


def group_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """A row for each group: for each metric its mean, its deviation over the seeds, and the ends of the interval."""
    return [
        {"settings": group.settings, "runs": group.runs}
        | {
            key: number
            for name, value in group.metrics.items()
            for key, number in (
                (name, value.mean),
                (f"{name} deviation", value.deviation),
                (f"{name} low", value.interval.low),
                (f"{name} high", value.interval.high),
            )
        }
        for group in groups
    ]


def report(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> str:
    """All outcomes, ranked, and what the seeds say together, as the terminal shows them."""
    jobs = rows(ranked(outcomes, objectives[0]), objectives)
    shown = [key for key in jobs[0] if key != "job" and any(row[key] != "" for row in jobs)]
    names = setting_columns([row["job"] for row in jobs])
    cells = ([*name, *(_cell(key, row[key]) for key in shown)] for name, row in zip(names[1:], jobs, strict=True))
    parts = [terminal.table([[*names[0], *shown], *cells], terminal.width(), optional=OPTIONAL)]
    if groups := over_seeds(outcomes, objectives):
        names, metrics_shown = setting_columns([group.settings for group in groups]), list(groups[0].metrics)
        cells = (
            [*name, str(group.runs), *(_formatted(group.metrics[metric]) for metric in metrics_shown)]
            for name, group in zip(names[1:], groups, strict=True)
        )
        table = terminal.table([[*names[0], "runs", *metrics_shown], *cells], terminal.width())
        parts.append(f"mean ± standard deviation over the seeds [95 % interval of the mean, Student's t]\n{table}")
    return "\n\n".join(parts)


def setting_columns(names: Sequence[str]) -> list[list[str]]:
    """The names of jobs, such as `optimizer.lr=0.1 seed=1`, as rows with a column for each setting, under a header."""
    rows = [_parts(name) for name in names]
    keys = list(dict.fromkeys(key for row in rows for key in row)) or ["job"]
    last = Counter(key.rpartition(".")[2] for key in keys)
    header = [short if last[short := key.rpartition(".")[2]] == 1 else key for key in keys]
    return [header, *([row.get(key, "") for key in keys] for row in rows)]


def metrics(outcomes: Iterable[Outcome], objectives: Sequence[str]) -> list[str]:
    """The names of those of the best epoch, and the costs among the objectives; the test images rank nothing."""
    known = dict.fromkeys(name for outcome in outcomes for name in outcome.metrics)
    return [
        *(name for name in known if name.startswith("best/")),
        *(name for name in objectives if name in objective.COSTS),
    ]


def _group(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> Group:
    names = [name for name in metrics(outcomes, objectives) if name != "best/epoch"]
    value = {name: aggregate([outcome.metrics[name] for outcome in outcomes]) for name in names}
    return Group(" ".join(_without_seed(outcomes[0].job.name.split(" "))) or "all", len(outcomes), value)


def _parts(name: str) -> dict[str, str]:
    """The settings that the name of a job states, by their keys; the number of a trial as `trial`."""
    parts = [part.partition("=" if "=" in part else " ") for part in re.split(r" (?=[\w./@~+-]+=)", name)]
    return {key: value for key, _, value in parts} if all(separator for _, separator, _ in parts) else {"job": name}


def _means(group: Group) -> dict[str, float]:
    return {name: value.mean for name, value in group.metrics.items()}


def _without_seed(overrides: Iterable[str]) -> tuple[str, ...]:
    return tuple(part for part in overrides if not part.startswith(("seed=", "tracking.", "resume=")))


def _rank(metric: str, value: float | None) -> float:
    if value is None or math.isnan(value):
        return math.inf
    return value if objective.lower_is_better(metric) else -value


def _formatted(value: Aggregate) -> str:
    shown = terminal.plus_minus(value.mean, value.deviation)
    low, high = map(terminal.number, value.interval)
    return shown if math.isnan(value.interval.low) else f"{shown} [{low}, {high}]"


def _cell(key: str, value: Any) -> str:
    match key:
        case "seconds":
            return terminal.duration(value) if value else ""
        case "run":
            return str(value)[:8]
        case "best/epoch":
            return str(value).removesuffix(".0")
    return terminal.number(value) if isinstance(value, float) else value

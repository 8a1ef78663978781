"""What came of a sweep's jobs, in tables."""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cifar.config import objective
from cifar.config.settings import DRAWS
from cifar.metrics.statistics import Aggregate, aggregate
from cifar.runtime import terminal
from cifar.sweep.jobs import Outcome

DRAWN = tuple(f"{key}=" for key in DRAWS)
"""How the overrides begin that choose the random draws of a job."""
OPTIONAL = ("reason", "time", "best/epoch")
"""Columns that a narrow terminal does not show, the first of them first."""
OWN = ("job", "settings", "runs", "status", "seconds", "time", "run", "reason", "epoch", "left")
"""Columns that are no settings."""


@dataclass(frozen=True)
class Group:
    """Finished jobs that differ in their random draws alone: what they share, how many they are, and their metrics."""

    settings: str
    runs: int
    metrics: Mapping[str, Aggregate]


def ranked(outcomes: Iterable[Outcome], metric: str) -> list[Outcome]:
    """The outcomes, the best by the objective `metric` first and those that have none last."""
    return sorted(outcomes, key=lambda outcome: rank(metric, objective.value(metric, outcome.metrics)))


def over_seeds(outcomes: Iterable[Outcome], objectives: Sequence[str]) -> list[Group]:
    """The groups, the best mean of the first objective first; none where each has a single job."""
    found = repetitions(outcomes)
    if all(len(group) == 1 for group in found):
        return []
    names = [name for name in metrics(itertools.chain(*found), objectives) if name != "best/epoch"]
    groups = [_group(group, names) for group in found]
    return sorted(groups, key=lambda group: rank(objectives[0], objective.value(objectives[0], _means(group))))


def repetitions(outcomes: Iterable[Outcome]) -> list[list[Outcome]]:
    """The finished jobs in lists of those that differ in their random draws alone; of equal jobs the last."""
    found: dict[tuple[str, ...], dict[tuple[str, ...], Outcome]] = {}
    for outcome in outcomes:
        if outcome.status == "FINISHED":
            draws = tuple(sorted(part for part in outcome.job.overrides if part.startswith(DRAWN)))
            found.setdefault(setting_of(outcome.job.overrides), {})[draws] = outcome  # a search may try one again
    return [list(group.values()) for group in found.values()]


def rows(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each outcome: job, settings, how it ended, its metrics (see `metrics`), seconds, run and reason.

    A column of a setting has the last part of its key, as in `setting_columns`.
    """
    names = metrics(outcomes, objectives)
    settings = setting_columns([outcome.job.name for outcome in outcomes])
    return [
        {
            "job": outcome.job.name,
            **{key: value for key, value in zip(settings[0], own, strict=True) if key != "job"},
            "status": outcome.status,
            **{name: outcome.metrics.get(name, "") for name in names},
            "seconds": round(outcome.seconds, 1),
            "run": outcome.run_id,
            "reason": outcome.reason,
        }
        for outcome, own in zip(outcomes, settings[1:], strict=True)
    ]


def group_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """A row for each group: for each metric its mean, its deviation over the seeds, and the ends of the interval."""
    return [{"settings": group.settings, "runs": group.runs} | columns(group.metrics) for group in groups]


def columns(values: Mapping[str, Aggregate]) -> dict[str, float]:
    """For each of the named values its mean, its deviation, and the ends of the interval."""
    return {
        key: number
        for name, value in values.items()
        for key, number in (
            (name, value.mean),
            (f"{name} deviation", value.deviation),
            (f"{name} low", value.interval.low),
            (f"{name} high", value.interval.high),
        )
    }


def report(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> str:
    """All outcomes, ranked, and what the seeds say together, as the terminal shows them."""
    parts = [terminal.table(table(outcomes, objectives), terminal.width(), optional=OPTIONAL)]
    if groups := over_seeds(outcomes, objectives):
        title = "mean ± standard deviation over seeds, cuts and folds [95 % interval, Student's]"
        parts.append(f"{title}\n{_group_tables(groups, terminal.width())}")
    return "\n\n".join(parts)


def table(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> list[list[str]]:
    """A header, and a row for each outcome, ranked, with a column for each setting."""
    jobs = rows(ranked(outcomes, objectives[0]), objectives)
    names = setting_columns([row["job"] for row in jobs])
    shown = [key for key in jobs[0] if key not in ("job", *names[0]) and any(row[key] != "" for row in jobs)]
    cells = (
        [*name, *(_cell(key, row[key]) for key in shown)]
        for name, row in zip(without_common_folder(names[1:]), jobs, strict=True)
    )
    return [[*names[0], *("time" if key == "seconds" else key for key in shown)], *cells]


def setting_columns(names: Sequence[str]) -> list[list[str]]:
    """The names of jobs, such as `optimizer.lr=0.1 seed=1`, as rows with a column for each setting, under a header."""
    rows = [_parts(name) for name in names]
    keys = list(dict.fromkeys(key for row in rows for key in row)) or ["job"]
    last = Counter(key.rpartition(".")[2] for key in keys)
    is_clear = {key: last[short := key.rpartition(".")[2]] == 1 and short not in OWN for key in keys}
    header = [key.rpartition(".")[2] if is_clear[key] else key for key in keys]
    return [header, *([row.get(key, "") for key in keys] for row in rows)]


def without_common_folder(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """`rows` in which a column of paths in one folder has `…/` in its place, so that a table shows their ends."""
    columns = []
    for column in zip(*rows, strict=True):
        folder = _common_folder(column) if len(set(column)) > 1 else ""
        columns.append([f"…{value[len(folder) :]}" if folder else value for value in column])
    return [list(row) for row in zip(*columns, strict=True)]


def metrics(outcomes: Iterable[Outcome], objectives: Sequence[str]) -> list[str]:
    """The names of those of the best epoch, and the costs among the objectives; the test images rank nothing."""
    known = dict.fromkeys(name for outcome in outcomes for name in outcome.metrics)
    return [
        *(name for name in known if name.startswith("best/")),
        *(name for name in objectives if name in objective.COSTS),
    ]


def label(outcomes: Sequence[Outcome]) -> str:
    """The setting of repetitions, as the names of their jobs have it."""
    return " ".join(setting_of(outcomes[0].job.name.split(" "))) or "all"


def _common_folder(paths: Iterable[str]) -> str:
    """The folder that all of the `paths` are in; empty if there is none."""
    folders = zip(*(path.split("/")[:-1] for path in paths), strict=False)
    return "/".join(names[0] for names in itertools.takewhile(lambda names: len(set(names)) == 1, folders))


def _group(outcomes: Sequence[Outcome], names: Sequence[str]) -> Group:
    # A job whose server went away has recorded its metrics elsewhere.
    values = {name: [outcome.metrics[name] for outcome in outcomes if name in outcome.metrics] for name in names}
    return Group(
        label(outcomes), len(outcomes), {name: aggregate(known or [math.nan]) for name, known in values.items()}
    )


def _parts(name: str) -> dict[str, str]:
    """The settings that the name of a job states, by their keys; the number of a trial as `trial`."""
    parts = [part.partition("=" if "=" in part else " ") for part in re.split(r" (?=[\w./@~+-]+=)", name)]
    return {key: value for key, _, value in parts} if all(separator for _, separator, _ in parts) else {"job": name}


def _group_tables(groups: Sequence[Group], columns: int) -> str:
    """A table with a column for each metric, or a table for each metric where that is too wide."""
    names, shown = setting_columns([group.settings for group in groups]), list(groups[0].metrics)

    def rows(*metrics: str) -> list[list[str]]:
        cells = (
            [*name, str(group.runs), *(formatted(group.metrics[metric]) for metric in metrics)]
            for name, group in zip(names[1:], groups, strict=True)
        )
        return [[*names[0], "runs", *metrics], *cells]

    whole = terminal.table(rows(*shown), sys.maxsize)
    if len(shown) == 1 or max(map(len, whole.splitlines())) <= columns:
        return terminal.table(rows(*shown), columns)
    return "\n\n".join(terminal.table(rows(metric), columns) for metric in shown)


def _means(group: Group) -> dict[str, float]:
    return {name: value.mean for name, value in group.metrics.items()}


def setting_of(overrides: Iterable[str]) -> tuple[str, ...]:
    """The overrides of a job without its random draws and what the sweep has added."""
    return tuple(part for part in overrides if not part.startswith((*DRAWN, "tracking.", "resume=")))


def rank(metric: str, value: float | None) -> float:
    """A number that is less for a better value of the objective `metric`, and infinite where there is none."""
    if value is None or math.isnan(value):
        return math.inf
    return value if objective.lower_is_better(metric) else -value


def formatted(value: Aggregate) -> str:
    """Mean, standard deviation, and interval where there is one."""
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

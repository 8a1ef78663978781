"""The recorded runs as a table: filtered, sorted, each sweep with its jobs under it."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence

from cifar.config.objective import lower_is_better
from cifar.config.renamed import unknown_metric
from cifar.runtime import terminal
from cifar.runtime.errors import InputError, closest
from cifar.tracking.queries import StoredRun, search_runs

COMPARISONS = {">=": operator.ge, "<=": operator.le, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
               "=": operator.eq}  # fmt: skip
BOUND = re.compile(r"\s*([^\s<>=!'\"`]+)\s*(>=|<=|!=|==?|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")
"""`METRIC>VALUE`."""
METRICS = ("best/accuracy", "best/f1_micro", "best/positive_accuracy", "test/accuracy", "test/map", "test/mean_iou")
"""That are shown of runs that have them."""
WIDE = 130
"""Columns of a terminal that shows run ids as a whole; elsewhere their first `ID` characters do."""
ID = 8


def select(experiment: str | None, status: str | None, condition: str) -> list[StoredRun]:
    """The runs that meet all conditions, newest first; `condition` is `METRIC>VALUE` or a filter string of MLflow's."""
    bound = BOUND.fullmatch(condition)
    if bound and bound[1].startswith(("metrics.", "params.", "tags.", "attributes.")):
        bound = None
    runs = search_runs(experiment, "" if bound else condition)
    if bound:
        name, relation, value = bound.groups()
        check_metric(name, runs)
        holds = COMPARISONS[relation.replace("==", "=")]
        runs = [run for run in runs if name in run.metrics and holds(run.metrics[name], float(value))]
    return [run for run in runs if status in (None, run.status)]


def check_metric(name: str, runs: Sequence[StoredRun]) -> None:
    """Raises `InputError` where no run has a metric of this name."""
    names = {metric for run in runs for metric in run.metrics}
    if runs and name not in names:
        raise InputError(f"metric {name}: no run has it; {unknown_metric(name, names)}")


def ranked(runs: Sequence[StoredRun], metric: str) -> list[StoredRun]:
    """The runs that have a `metric`, best first."""
    check_metric(metric, runs)
    having = [run for run in runs if not math.isnan(run.metrics.get(metric, math.nan))]
    return sorted(having, key=lambda run: run.metrics[metric], reverse=not lower_is_better(metric))


def nested(runs: Sequence[StoredRun]) -> list[tuple[StoredRun, list[StoredRun]]]:
    """Each run with its children, in the order of their start; those stand alone whose parent is not listed."""
    ids = {run.id for run in runs}
    parents = {run.id for run in runs if run.parent not in ids}
    jobs: dict[str, list[StoredRun]] = {}
    for run in reversed(runs):
        if run.parent in parents:
            jobs.setdefault(run.parent, []).append(run)
    return [(run, jobs.get(run.id, [])) for run in runs if run.parent not in parents]


def check_columns(names: Sequence[str], runs: Sequence[StoredRun]) -> None:
    """Raises `InputError` for a name that is neither a metric nor a setting nor a tag of any run."""
    known = {name for run in runs for name in (*run.metrics, *run.params, *run.tags) if not name.startswith("mlflow.")}
    for name in names:
        if runs and name not in known:
            raise InputError(f"--columns {name}: no run has it; {closest(name, known)}a metric, a setting or a tag")


def cell(run: StoredRun, name: str) -> str:
    """A metric, a setting or a tag of a run; empty where it has none of this name."""
    if name in run.metrics:
        return terminal.number(run.metrics[name])
    return run.params.get(name) or run.tags.get(name, "")


def table(
    entries: Sequence[tuple[StoredRun, Sequence[StoredRun]]],
    columns: int,
    metric: str | None = None,
    chosen: Sequence[str] = (),
) -> str:
    """A line for each run, its children indented under it.

    The columns of values are those that are `chosen`, else the usual metrics; `metric` is shown in addition. A narrow
    table does without the time and the usual metrics that few runs have, so that names and headers are not cut.
    """
    runs = [run for entry, jobs in entries for run in (entry, *jobs)]
    check_columns(chosen, runs)
    usual = [name for name in METRICS if any(name in run.metrics for run in runs)]
    shown = list(dict.fromkeys([*(chosen or usual), *([metric] if metric else [])]))
    several = len({run.experiment for run in runs}) > 1
    digits, moment = (None, "%Y-%m-%d %H:%M") if columns >= WIDE else (ID, "%m-%d %H:%M")
    rows = [["run", "name", *(["experiment"] if several else []), "status", "started", "time", *shown]]
    for entry, jobs in entries:
        for run in (entry, *jobs):
            rows.append(
                [
                    run.id[:digits],
                    run.name if run is entry else f"└ {run.name}",
                    *([run.experiment] if several else []),
                    run.status,
                    run.start.strftime(moment),
                    terminal.duration(run.seconds),
                    *(cell(run, name) for name in shown),
                ]
            )
    rarest_first = sorted(usual, key=lambda name: sum(name in run.metrics for run in runs))[:-1]
    spare = [] if chosen else [name for name in rarest_first if name != metric]
    return terminal.table(rows, columns, whole=[0], optional=["time", "started", *spare])

"""Evaluations of the compared runs on other data than their own."""

from __future__ import annotations

from collections.abc import Sequence

from cifar.analysis.groups import Group
from cifar.analysis.tables import Table
from cifar.runtime import terminal
from cifar.tracking import queries

METRICS = ("accuracy", "map", "mean_iou")
"""The main metric of a task: the first that a run has on the data."""


def other_data(groups: Sequence[Group]) -> Table:
    """The main metric of each group on each of the other data, a column for each; only a header if there is none."""
    sources: dict[str, set[str]] = {}
    for group in groups:
        for run in group.runs:
            for prefix, source in queries.other_data(run).items():
                sources.setdefault(prefix, set()).add(source["fingerprint"])
    columns = {prefix: name for prefix in sorted(sources) if (name := _main_metric(groups, prefix))}
    rows = [["", *columns.values()]]
    rows += [[group.letter, *(_value(group, name) for name in columns.values())] for group in groups] if columns else []
    differing = [prefix for prefix in columns if len(sources[prefix]) > 1]
    note = "Mean ± standard deviation over the runs that were evaluated on them"
    note += f"; of {', '.join(differing)}, the runs have seen different images" if differing else ""
    return Table("Other data", rows, note)


def _main_metric(groups: Sequence[Group], prefix: str) -> str | None:
    known = {name for group in groups for run in group.runs for name in run.metrics}
    return next((f"{prefix}/{name}" for name in METRICS if f"{prefix}/{name}" in known), None)


def _value(group: Group, metric: str) -> str:
    """The mean over the runs of a group that have the metric, and how many these are if they are not all."""
    values = [run.metrics[metric] for run in group.runs if metric in run.metrics]
    if not values:
        return "—"
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)) ** 0.5
    text = terminal.number(mean) + (f" ± {terminal.number(deviation)}" if len(values) > 1 else "")
    return text + (f" ({len(values)} of {len(group.runs)} runs)" if len(values) < len(group.runs) else "")

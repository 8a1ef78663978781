"""Tables of settings, results, cost, classes and runs: the terminal and the page show the same ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cifar.analysis import predictions as on_images
from cifar.analysis.groups import Group, differing
from cifar.analysis.predictions import Answers
from cifar.config.objective import lower_is_better
from cifar.metrics.statistics import UNKNOWN, Interval, wilson_interval
from cifar.runtime import terminal
from cifar.tracking.queries import Looks

MAIN = ("test/accuracy", "test/map", "test/map50", "test/iou", "test/mean_iou", "test/f1_macro", "test/loss",
        "best/accuracy", "best/f1_micro", "best/positive_accuracy")  # fmt: skip
"""Metrics in order of preference: a task's first one is shown with its deviation."""
PROPORTIONS = ("test/accuracy", "test/top5_accuracy")
"""Metrics that are a share of the test images."""

Histories = Mapping[str, Mapping[str, Sequence[float]]]
"""By run id, then by metric: a value an epoch."""


@dataclass(frozen=True)
class Table:
    """Rows of text, the first of which is the header.

    `best` are the (row, column) that stand out; `optional` are the headers of the columns that a narrow terminal leaves
    out, the first of them first.
    """

    title: str
    rows: Sequence[Sequence[str]]
    note: str = ""
    best: frozenset[tuple[int, int]] = frozenset()
    optional: Sequence[str] = ()

    @property
    def are_numbers(self) -> list[bool]:
        """For each column."""
        return terminal.are_numbers(self.rows)


def main_metrics(groups: Sequence[Group]) -> list[str]:
    """The main metrics that groups have, the task's first one first."""
    return [name for name in MAIN if any(group.aggregate(name) for group in groups)]


def results(groups: Sequence[Group], answers: Answers) -> Table:
    """The main metrics of each group, with deviation and interval of the first, such as the test accuracy."""
    names = main_metrics(groups)
    columns: dict[str, list[str]] = {"": [group.letter for group in groups]}
    for name in names:
        columns[name] = [_mean(group, name, deviation=name == names[0]) for group in groups]
        if name == names[0]:
            columns["95 % interval"] = [shown_range(_interval(group, name, answers)) for group in groups]
    several = any(len(group.seeds) > 1 for group in groups)
    notes = ["Of several seeds: mean ± standard deviation, and Student's interval of the mean"] if several else []
    notes += ["Wilson's interval over the test images"] if answers else []
    best = {(row, list(columns).index(name)) for name in names for row in _best(groups, name)}
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    note = "; of one: ".join(notes)
    return Table(
        "Results",
        rows,
        note,
        frozenset(best),
        optional=("best/accuracy", "best/positive_accuracy", "test/loss", "test/f1_macro"),
    )


def settings(groups: Sequence[Group], ignored: Sequence[str] = ()) -> Table:
    """Where the groups' settings differ, apart from the seed."""
    keys = differing([group.settings for group in groups])
    rows = [["setting", *(group.letter for group in groups)]]
    rows += [[key, *(group.settings.get(key, "—") for group in groups)] for key in keys]
    if len(keys) < len(groups):
        rows = [["" if row == 0 and column == 0 else cell for column, cell in enumerate(line)]
                for row, line in enumerate(zip(*rows, strict=True))]  # fmt: skip
    notes = [*([] if keys else ["None but the seed"]), *([f"Not looked at: {', '.join(ignored)}"] if ignored else [])]
    return Table("Settings that differ", rows, ". ".join(notes))


def cost(groups: Sequence[Group], histories: Histories) -> Table:
    """Time and size, means over runs."""
    rows = [["", "time", "epochs", "best epoch", "images/s", "parameters", "MFLOP/image", "processor"]]
    for group in groups:
        known = [histories[run.id] for run in group.runs]
        parameters, flops, epoch = (
            [run.metrics.get(name, math.nan) for run in group.runs]
            for name in ("model/parameters", "model/flops", "best/epoch")
        )
        rows.append(
            [
                group.letter,
                terminal.duration(float(np.mean([run.seconds for run in group.runs]))),
                _average([max(map(len, history.values()), default=0) for history in known], ",.1f"),
                _average(epoch, ",.1f"),
                _average([speed for history in known for speed in history.get("images_per_second", ())], ",.0f"),
                _average(parameters, ",.0f"),
                _average(np.array(flops) / 1e6, ",.2f"),
                " + ".join(sorted({run.tags.get("cpu", "—") for run in group.runs})),
            ]
        )
    note = "Means of runs; the time is from a run's start to its end"
    return Table("Time and cost", rows, note, optional=("processor", "best epoch"))


def looks(groups: Sequence[Group], counts: Mapping[str, Looks]) -> Table:
    """How often the test images of the groups have been looked at."""
    rows = [["test images", "of", "evaluations", "runs"]]
    for images, count in counts.items():
        letters = [group.letter for group in groups if any(run.test_images == images for run in group.runs)]
        rows.append([images[:12], ", ".join(letters), f"{count.evaluations:,}", f"{count.runs:,}"])
    note = "Of all runs in this store; the best of many evaluations is the best by chance too"
    return Table("Looks at the test images", rows, note)


def classes(groups: Sequence[Group], answers: Answers) -> Table:
    """Accuracy on each class, those first on which the groups differ most; of two groups, also the difference."""
    names, counts, accuracy = on_images.by_class(groups, answers)
    rows = [["class", "images", *(group.letter for group in groups)]]
    if len(groups) == 2:
        rows[0].append(f"{groups[1].letter} − {groups[0].letter}")
    for k in np.argsort(-np.ptp(accuracy, axis=0), kind="stable"):
        change = [terminal.signed(accuracy[1, k] - accuracy[0, k])] if len(groups) == 2 else []
        rows.append([names[k], f"{counts[k]:,}", *(f"{value:.4f}" for value in accuracy[:, k]), *change])
    return Table("Accuracy on each class", rows, "Share of the class's test images that are right, mean over seeds")


def metrics(groups: Sequence[Group], answers: Answers) -> Table:
    """Every metric of the test and of the best epoch."""
    found = {name for group in groups for run in group.runs for name in run.metrics}
    names = sorted(name for name in found if name.startswith(("test/", "best/")) and name != "best/epoch")
    rows = [["metric", *(group.letter for group in groups)]]
    for name in names:
        intervals = [_interval(group, name, answers) for group in groups]
        rows.append([name, *(f"{_mean(group, name, deviation=True)} {shown_range(interval)}".removesuffix(" —")
                             for group, interval in zip(groups, intervals, strict=True))])  # fmt: skip
    best = {(row, column) for row, name in enumerate(names, 1) for column in _best(groups, name)}
    return Table("All metrics", rows, "With 95 % intervals where there is one", frozenset(best))


def runs(groups: Sequence[Group]) -> Table:
    """Every run that is compared."""
    metric = next((name for name in MAIN for group in groups for run in group.runs if name in run.metrics), MAIN[0])
    rows = [["", "run", "name", "seed", "status", "started", "time", metric]]
    for group in groups:
        for run in group.runs:
            value = run.metrics.get(metric, math.nan)
            rows.append(
                [
                    group.letter,
                    run.id,
                    run.name,
                    run.params.get("seed", "—"),
                    run.status,
                    f"{run.start:%Y-%m-%d %H:%M}",
                    terminal.duration(run.seconds),
                    terminal.number(value),
                ]
            )
    return Table("Runs", rows)


def _average(values: Iterable[float], form: str) -> str:
    finite = [value for value in values if math.isfinite(value)]
    return format(np.mean(finite), form).removesuffix(".0") if finite else "—"


def _mean(group: Group, metric: str, deviation: bool) -> str:
    found = group.aggregate(metric)
    if not found:
        return "—"
    return terminal.plus_minus(found.mean, found.deviation) if deviation else terminal.number(found.mean)


def _interval(group: Group, metric: str, answers: Answers) -> Interval:
    found = group.aggregate(metric)
    if not found:
        return UNKNOWN
    if metric in PROPORTIONS and found.size == 1 and answers and 0 <= found.mean <= 1:
        images = len(answers[group.runs[0].id].label)
        return wilson_interval(round(found.mean * images), images)
    return found.interval


def _best(groups: Sequence[Group], metric: str) -> list[int]:
    """The numbers, from 1, of the groups with the best mean as it is shown; none where all have the same."""
    means = {place: found.mean for place, group in enumerate(groups, 1) if (found := group.aggregate(metric))}
    best = (min if lower_is_better(metric) else max)(means.values(), default=math.nan)
    winners = [place for place, mean in means.items() if terminal.number(mean) == terminal.number(best)]
    return winners if len(winners) < len(means) else []


def shown_range(interval: Interval, signed: bool = False) -> str:
    """`[0.9, 0.95]`, or a dash where the ends are NaN."""
    low, high = interval
    if math.isnan(low):
        return "—"
    show = terminal.signed if signed else terminal.number
    return f"[{show(low)}, {show(high)}]"

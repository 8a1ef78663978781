"""What a comparison says, in tables and sentences: the terminal and the page show the same ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cifar.analysis import predictions as on_images
from cifar.analysis.groups import Group, differing
from cifar.analysis.predictions import Answers, Pair
from cifar.config.objective import lower_is_better
from cifar.metrics.statistics import Interval, bootstrap_interval, wilson_interval
from cifar.runtime import terminal

MAIN = ("test/accuracy", "test/map", "test/map50", "test/iou", "test/mean_iou", "test/f1_macro", "test/loss",
        "best/accuracy", "best/positive_accuracy")  # fmt: skip
"""Metrics in order of preference: a task's first one is shown with its deviation."""
PROPORTIONS = ("test/accuracy", "test/top5_accuracy")
"""Metrics that are a share of the test images."""
ALPHA = 0.05

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


def results(groups: Sequence[Group], answers: Answers) -> Table:
    """The main metrics of each group, with deviation and interval of the first, such as the test accuracy."""
    names = [name for name in MAIN if any(group.aggregate(name) for group in groups)]
    columns = {"": [group.letter for group in groups]}
    for name in names:
        columns[name] = [_mean(group, name, deviation=name == names[0]) for group in groups]
        if name == names[0]:
            columns["95 % interval"] = [_range(_interval(group, name, answers)) for group in groups]
    several = any(len(group.runs) > 1 for group in groups)
    notes = ["Of several runs: mean ± standard deviation, and bootstrap interval of the mean"] if several else []
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


def differences(groups: Sequence[Group], answers: Answers) -> Table:
    """The difference in mean test accuracy of each two groups of several runs."""
    rows = [["", "", "difference in test/accuracy", "95 % interval", "runs"]]
    for first, second in combinations([group for group in groups if len(group.runs) > 1][: on_images.ALL_PAIRS], 2):
        difference, interval = _difference(first, second, answers)
        numbers = f"{len(first.runs)} and {len(second.runs)}"
        rows.append([first.letter, second.letter, terminal.signed(difference), _range(interval, signed=True), numbers])
    note = "The second less the first; bootstrap interval over runs"
    return Table("Differences of settings", rows, note)


def tests(groups: Sequence[Group], pairs: Sequence[Pair]) -> Table:
    """McNemar's test of each pair of runs."""
    rows = [["", "", "seeds", "only 1st", "only 2nd", "difference", "95 % interval", "test", "p", "p (Holm)"]]
    for pair in pairs:
        (first, one), (second, other) = pair.first, pair.second
        rows.append(
            [
                first.letter,
                second.letter,
                f"{one.params.get('seed', '—')}, {other.params.get('seed', '—')}",
                f"{pair.only_first:,}",
                f"{pair.only_second:,}",
                terminal.signed(pair.difference),
                _range(pair.interval, signed=True),
                "exact" if pair.test.exact else f"χ² {pair.test.statistic:,.1f}",
                _p(pair.test.p),
                _p(pair.corrected_p),
            ]
        )
    note = "Images that only the first, or only the second, gets right; the difference in accuracy, second less first"
    if len(groups) > on_images.ALL_PAIRS:
        note += f"; of more than {on_images.ALL_PAIRS} settings, each is tested against the first"
    return Table("McNemar's tests", rows, note, optional=("test", "seeds"))


def classes(groups: Sequence[Group], answers: Answers) -> Table:
    """Accuracy on each class, those first on which the groups differ most; of two groups, also the difference."""
    names, counts, accuracy = on_images.by_class(groups, answers)
    rows = [["class", "images", *(group.letter for group in groups)]]
    if len(groups) == 2:
        rows[0].append(f"{groups[1].letter} − {groups[0].letter}")
    for k in np.argsort(-np.ptp(accuracy, axis=0), kind="stable"):
        change = [terminal.signed(accuracy[1, k] - accuracy[0, k])] if len(groups) == 2 else []
        rows.append([names[k], f"{counts[k]:,}", *(f"{value:.4f}" for value in accuracy[:, k]), *change])
    return Table("Accuracy on each class", rows, "Share of the class's test images that are right, mean over runs")


def metrics(groups: Sequence[Group], answers: Answers) -> Table:
    """Every metric of the test and of the best epoch."""
    found = {name for group in groups for run in group.runs for name in run.metrics}
    names = sorted(name for name in found if name.startswith(("test/", "best/")) and name != "best/epoch")
    rows = [["metric", *(group.letter for group in groups)]]
    for name in names:
        intervals = [_interval(group, name, answers) for group in groups]
        rows.append([name, *(f"{_mean(group, name, deviation=True)} {_range(interval)}".removesuffix(" —")
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


def verdict(groups: Sequence[Group], answers: Answers, pairs: Sequence[Pair]) -> str:
    """In a sentence or two, how far the second of two groups is from the first, and how many pairs of runs differ."""
    found = sum(pair.corrected_p < ALPHA for pair in pairs)
    if len(pairs) == 1:
        (pair,) = pairs
        p = _p(pair.test.p)
        return (
            f"{_told(pair.first[0], pair.second[0], pair.difference, pair.interval, 'these images')}. "
            f"{'A' if found else 'No'} significant difference (McNemar's test, p {p if '<' in p else f'= {p}'})."
        )
    tested = (f"{found} of {len(pairs)} pairs of runs differ significantly in their answers (McNemar's test, "
              f"Holm-corrected p < {ALPHA}).")  # fmt: skip
    if len(groups) == 2 and min(len(group.runs) for group in groups) > 1:
        first, second = groups
        return f"{_told(first, second, *_difference(first, second, answers), 'seeds')}. {tested}"
    return tested


def _told(first: Group, second: Group, difference: float, interval: Interval, over: str) -> str:
    low, high = (terminal.signed(100 * bound, 2) for bound in interval)
    return (f"{second.letter} gets {abs(100 * difference):.2f} points {'more' if difference >= 0 else 'fewer'} of the "
            f"test images right than {first.letter} (95 % interval over {over}: {low} to {high})")  # fmt: skip


def _difference(first: Group, second: Group, answers: Answers) -> tuple[float, Interval]:
    """Of the mean accuracies of two groups, second less first; the interval is over runs."""
    here, there = ([answers[run.id].correct.mean() for run in group.runs] for group in (first, second))
    return float(np.mean(there) - np.mean(here)), bootstrap_interval(there, here)


def _average(values: Iterable[float], form: str) -> str:
    finite = [value for value in values if math.isfinite(value)]
    return format(np.mean(finite), form).removesuffix(".0") if finite else "—"


def _mean(group: Group, metric: str, deviation: bool) -> str:
    found = group.aggregate(metric)
    if not found:
        return "—"
    return terminal.number(found.mean) + (
        f" ± {terminal.number(found.deviation)}" if deviation and found.size > 1 else ""
    )


def _interval(group: Group, metric: str, answers: Answers) -> Interval:
    found = group.aggregate(metric)
    if found and found.size == 1 and metric in PROPORTIONS and answers and 0 <= found.mean <= 1:
        images = len(answers[group.runs[0].id].label)
        return wilson_interval(round(found.mean * images), images)
    return found.interval if found else Interval(math.nan, math.nan)


def _best(groups: Sequence[Group], metric: str) -> list[int]:
    """The numbers, from 1, of the groups with the best mean; none where all have the same."""
    means = {place: found.mean for place, group in enumerate(groups, 1) if (found := group.aggregate(metric))}
    best = (min if lower_is_better(metric) else max)(means.values(), default=math.nan)
    winners = [place for place, mean in means.items() if mean == best]
    return winners if len(winners) < len(means) else []


def _range(interval: Interval, signed: bool = False) -> str:
    low, high = interval
    if math.isnan(low):
        return "—"
    show = terminal.signed if signed else terminal.number
    return f"[{show(low)}, {show(high)}]"


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"

"""Confirmation: the best settings of a sweep, trained again on fresh seeds and validation images.

The best of many jobs is the best by chance too, and its value promises too much. The value of a fresh run does not: it
had no part in the choice (Cawley and Talbot, "On Over-fitting in Model Selection and Subsequent Selection Bias in
Performance Evaluation", JMLR 2010). The difference of the two is the optimism of the sweep.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cifar import tracking
from cifar.config import objective
from cifar.config.settings import Settings
from cifar.metrics.statistics import Aggregate, aggregate
from cifar.runtime import terminal
from cifar.sweep import results
from cifar.sweep.confirm import Options
from cifar.sweep.grid import Grid
from cifar.sweep.jobs import Job, Outcome

if TYPE_CHECKING:
    from cifar.sweep.engine import Source

FIRST_SEED = 1000
"""The first of the fresh seeds, unless the sweep has used it."""
SEEDS = ("seed=", "data.val_seed=")
REPLACED = (*SEEDS, "tracking.parent=", "tracking.name=", "resume=")
"""How the overrides begin that a job has otherwise when its setting is confirmed."""


@dataclass(frozen=True)
class Confirmation:
    """A setting that was confirmed: the objective in the sweep (`value`) and on fresh seeds, with all `metrics` there.

    `optimism` is how much better the value of the sweep is than the confirmed one, and `gain` how much better that is
    than `median`, the value of the median setting of the sweep.
    """

    setting: str
    value: float
    median: float
    confirmed: Aggregate
    optimism: Aggregate
    gain: Aggregate
    metrics: Mapping[str, Aggregate]


class Confirmed:
    """A `source` of jobs, and the source of those that confirm the best of its settings once all have ended."""

    seeks_best = False

    def __init__(self, source: Source, options: Options, metric: str, settings_of: Callable[[Sequence[str]], Settings]):
        """`metric` is the objective; `settings_of` composes the settings that overrides make."""
        self.name, self.key = source.name, source.key
        self._source, self._options, self._metric, self._settings_of = source, options, metric, settings_of
        self._ended: list[Outcome] = []
        self._running: set[str] = set()
        self._second: Grid | None = None

    @property
    def total(self) -> int | None:
        if self._source.total is None:
            return None
        second = self._options.confirm * self._options.confirm_seeds
        return self._source.total + (self._second.total if self._second else second)

    @property
    def experiments(self) -> Sequence[str]:
        return self._source.experiments

    def begin(self, parent: tracking.SweepRun) -> None:
        self._parent = parent
        self._source.begin(parent)

    def take(self) -> Job | Outcome | None:
        taken = (self._second or self._source).take()
        if isinstance(taken, Outcome):
            self._ended.append(taken)
        elif taken:
            self._running.add(taken.name)
        elif not self._second and not self._running and self._source.is_done():
            self._second = Grid(self.name, self.key, dict(self._jobs()))
            self._second.begin(self._parent)
        return taken

    def report(self, outcome: Outcome) -> None:
        (self._second or self._source).report(outcome)
        self._running.discard(outcome.job.name)
        self._ended.append(outcome)

    def is_done(self) -> bool:
        return self._second is not None and self._second.is_done()

    def conclude(self) -> None:
        self._source.conclude()
        if found := confirmations(self._ended, self._metric):
            print("\n" + report(found, self._metric), flush=True)
            self._parent.log_table(rows(found, self._metric), "confirmation.csv")

    def _jobs(self) -> Iterator[tuple[Job, Settings]]:
        for group in ranked(self._ended, self._metric)[: self._options.confirm]:
            kept = [part for part in group[0].job.overrides if not part.startswith(REPLACED)]
            own = self._settings_of(kept)
            test = ["evaluate.test=true"] if own.evaluate.test is None else []
            for seed in fresh_seeds(self._ended, own.seed, self._options.confirm_seeds):
                overrides = (*kept, f"seed={seed}", f"data.val_seed={seed}", *test)
                setting = results.label(group)
                job = Job(f"confirm {setting} seed={seed}", overrides, confirms=setting)
                yield job, self._settings_of(overrides)


def ranked(outcomes: Sequence[Outcome], metric: str) -> list[list[Outcome]]:
    """The finished jobs that search, in lists of one setting each, the best mean of the objective first."""
    groups = results.repetitions(outcome for outcome in outcomes if not outcome.job.confirms)
    known = [group for group in groups if _values(group, metric)]
    return sorted(known, key=lambda group: results.rank(metric, statistics.fmean(_values(group, metric))))


def fresh_seeds(outcomes: Sequence[Outcome], used: int, count: int) -> list[int]:
    """Seeds that are not `used`, neither by the outcomes."""
    parts = (part.partition("=")[2] for one in outcomes for part in one.job.overrides if part.startswith(SEEDS))
    known = {used, *(int(part) for part in parts if part.isdecimal())}
    return list(itertools.islice((seed for seed in itertools.count(FIRST_SEED) if seed not in known), count))


def confirmations(outcomes: Sequence[Outcome], metric: str) -> list[Confirmation]:
    """What the jobs that confirm have come to, the best setting of the sweep first."""
    fresh: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.job.confirms and outcome.status == "FINISHED" and _values([outcome], metric):
            fresh.setdefault(outcome.job.confirms, []).append(outcome)
    searched = {results.label(group): statistics.fmean(_values(group, metric)) for group in ranked(outcomes, metric)}
    median = statistics.median(searched.values()) if searched else 0.0
    sign = 1 if objective.lower_is_better(metric) else -1
    found = []
    for setting, value in searched.items():
        if runs := fresh.get(setting):
            values = _values(runs, metric)
            found.append(
                Confirmation(
                    setting,
                    value,
                    median,
                    aggregate(values),
                    aggregate([sign * (own - value) for own in values]),
                    aggregate([sign * (median - own) for own in values]),
                    {name: aggregate([run.metrics[name] for run in runs]) for name in metric_names(runs)},
                )
            )
    return found


def metric_names(outcomes: Sequence[Outcome]) -> list[str]:
    """Those of the best epoch, and the same of the test but the loss; all of the test where it has none of the same."""
    known = [name for name in outcomes[0].metrics if all(name in outcome.metrics for outcome in outcomes)]
    best = [name for name in known if name.startswith("best/") and name != "best/epoch"]
    test = [name for name in known if name.startswith("test/") and name != "test/loss"]
    same = [own for name in best if (own := name.replace("best/", "test/")) in test]
    return [*best, *(same or test)]


def rows(found: Sequence[Confirmation], metric: str) -> list[dict[str, Any]]:
    """A row for each setting: its value in the sweep; optimism, gain and metrics as `results.columns` has them."""
    return [
        {"settings": one.setting, "runs": one.confirmed.size, f"{metric} in the sweep": one.value}
        | results.columns({"optimism": one.optimism, "gain over the median": one.gain, **one.metrics})
        for one in found
    ]


def report(found: Sequence[Confirmation], metric: str) -> str:
    """The confirmations as the terminal shows them, and in a sentence that of the best setting."""
    names, metrics = results.setting_columns([one.setting for one in found]), list(found[0].metrics)
    table = [[*names[0], "in the sweep", "optimism", *metrics]]
    for name, one in zip(names[1:], found, strict=True):
        fresh = [results.formatted(one.metrics[key]) for key in metrics]
        table.append([*name, terminal.number(one.value), results.formatted(one.optimism), *fresh])
    first, show = found[0], terminal.number
    return (
        "confirmed on fresh seeds and validation images: mean ± deviation [95 % interval of the mean]\n"
        f"{terminal.table(table, terminal.width())}\n\n"
        f"The best setting has {metric} {show(first.value)} in the sweep and {show(first.confirmed.mean)} on fresh "
        f"seeds: optimism {show(first.optimism.mean)}. The median setting has {show(first.median)} in the sweep: "
        f"gain {show(first.gain.mean)}."
    )


def _values(outcomes: Sequence[Outcome], metric: str) -> list[float]:
    """The finite values of the objective."""
    values = (objective.value(metric, outcome.metrics) for outcome in outcomes)
    return [value for value in values if value is not None and math.isfinite(value)]

"""The runs that are compared, in groups that differ in nothing but the seed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from cifar.config import renamed
from cifar.config.settings import DRAWS, MAY_CHANGE
from cifar.metrics.statistics import Aggregate, aggregate
from cifar.runtime.errors import InputError, did_you_mean, warn
from cifar.runtime.paths import COMMAND
from cifar.tracking import queries, store
from cifar.tracking.queries import StoredRun

RANKED_BY = ("best/accuracy", "best/positive_accuracy")
"""The first of these that a run has. The best are chosen by validation, so that the test images choose nothing."""
COMMIT = "git commit"
CODE = "code"
"""What a user calls it."""
NO_SETTINGS = {*MAY_CHANGE} - {"epochs"}
"""The root settings that runs of one group may have otherwise."""


class Letter(str):
    """The short name of a group; a type of its own, so that a page does not take the setting `A` for it."""

    __slots__ = ()


@dataclass(frozen=True)
class Group:
    """Runs of the same settings, code and precision; `letter` is its short name on the page, `label` its long one."""

    letter: Letter
    label: str
    settings: Mapping[str, str]
    runs: tuple[StoredRun, ...]

    @cached_property
    def seeds(self) -> list[list[StoredRun]]:
        """The runs of each seed: each list is one observation, since equal settings and seed repeat a training."""
        found: dict[tuple[str | None, ...], list[StoredRun]] = {}
        for run in self.runs:
            found.setdefault(tuple(run.params.get(name) for name in DRAWS), []).append(run)
        return list(found.values())

    @property
    def size(self) -> str:
        """The number of runs, and of seeds where that is another."""
        several = len(self.seeds) < len(self.runs)
        return f"{len(self.runs)} of {_count(len(self.seeds), 'seed')}" if several else str(len(self.runs))

    def observations(self, metric: str) -> list[float]:
        """A value of a metric for each seed, the mean of its runs; empty where not all runs have a finite one."""
        values = [sum(run.metrics.get(metric, math.nan) for run in runs) / len(runs) for runs in self.seeds]
        return values if all(map(math.isfinite, values)) else []

    def aggregate(self, metric: str) -> Aggregate | None:
        """What the values of the seeds say together; None where not all runs have a finite one."""
        values = self.observations(metric)
        return aggregate(values) if values else None


def named(run_ids: Sequence[str]) -> list[StoredRun]:
    """The runs of these ids, each once."""
    return list({run.id: run for run in queries.find_runs(run_ids)}.values())


def of_sweep(run_id: str) -> list[StoredRun]:
    """The finished jobs of a sweep; raises `InputError` where it has none."""
    (sweep,) = queries.find_runs([run_id])
    jobs = queries.children(sweep)
    if not jobs:
        raise InputError(f"sweep {run_id}: no run has it as its parent; `{COMMAND} runs` lists the sweeps")
    finished = [run for run in jobs if run.status == "FINISHED"]
    if len(finished) < len(jobs):
        others = Counter(run.status for run in jobs if run.status != "FINISHED")
        warn(f"sweep {run_id}: left out are {', '.join(f'{count} {status}' for status, count in others.items())}")
    return finished


def of_experiment(name: str) -> list[StoredRun]:
    """The finished trainings of an experiment."""
    return [run for run in queries.search_runs(name, "attributes.status = 'FINISHED'")[::-1] if run.params]


def grouped(runs: Sequence[StoredRun], top: int | None = None, ignored: Collection[str] = ()) -> list[Group]:
    """The runs in their groups, in the order given; or the `top` best by validation, best first.

    Differences in `ignored`, settings or whole groups of them, do not separate runs. Raises `InputError` for fewer than
    two runs, and for a name in `ignored` that none of them has.
    """
    _check_ignored(runs, ignored)
    by_settings: dict[tuple[tuple[str, str], ...], list[StoredRun]] = {}
    for run in runs:
        by_settings.setdefault(tuple(sorted(_settings(run, ignored).items())), []).append(run)
    members = list(by_settings.values())
    if top:
        members = sorted(members, key=_validation, reverse=True)[:top]
    if sum(map(len, members)) < 2:
        found = "one run" if runs else "no finished run"
        raise InputError(f"{found} to compare; accepted: two finished runs or more, or a sweep of such by --sweep")
    settings = [_settings(group[0], ignored) for group in members]
    return [
        Group(_letter(place), label, own, tuple(group))
        for place, (label, own, group) in enumerate(zip(_labels(members, settings), settings, members, strict=True))
    ]


def differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys in which settings differ, or that some of them lack."""
    keys = dict.fromkeys(key for own in settings for key in own)
    return [key for key in keys if len({own.get(key) for own in settings}) > 1]


def _check_ignored(runs: Sequence[StoredRun], ignored: Collection[str]) -> None:
    names = {CODE, *(key for run in runs for key in _settings(run) if key != COMMIT)}
    names |= {key.partition(".")[0] for key in names}
    for name in ignored:
        if name not in names:
            new = renamed.new_name(name, names)
            hint = f"it is called {new} now" if new else did_you_mean(name, names)
            raise InputError(f"--ignore {name}: no run has such a setting; {hint}")


def _settings(run: StoredRun, ignored: Collection[str] = ()) -> dict[str, str]:
    settings = {
        key: value for key, value in run.params.items() if key.partition(".")[0] not in NO_SETTINGS and key not in DRAWS
    }
    if "precision" in run.tags:  # what `auto` came to
        settings["precision"] = run.tags["precision"]
    if store.SCHEDULE_MOVED in run.tags:
        settings["schedule moved"] = run.tags[store.SCHEDULE_MOVED]
    if store.CODE in run.tags:
        settings[COMMIT] = run.tags[store.CODE]
    elif "git_commit" in run.tags:  # recorded by an earlier version
        changed = " with changes" if run.tags.get("git_dirty") == "True" else ""
        settings[COMMIT] = run.tags["git_commit"][:10] + changed
    dropped = [COMMIT if name == CODE else name for name in ignored]
    return {key: value for key, value in settings.items() if not {key, key.partition(".")[0]} & {*dropped}}


def _validation(runs: Sequence[StoredRun]) -> float:
    def score(run: StoredRun) -> float:
        return next((run.metrics[name] for name in RANKED_BY if name in run.metrics), -math.inf)

    return sum(map(score, runs)) / len(runs)


def _labels(members: Sequence[Sequence[StoredRun]], settings: Sequence[Mapping[str, str]]) -> list[str]:
    """The common part of the names of a group's runs, with the settings that distinguish groups that share it."""
    labels, drawn = [], tuple(f"{key}=" for key in DRAWS)
    for runs in members:
        names = [run.name.split() for run in runs]
        shared = [word for word in names[0] if not word.startswith(drawn) and all(word in name for name in names)]
        labels.append(" ".join(shared) or runs[0].params.get("model.name", "") or runs[0].experiment)
    repeated, keys = Counter(labels), _telling(settings)
    return [
        " ".join([label, *(f"{key}={own[key]}" for key in keys if key in own and repeated[label] > 1)])
        for label, own in zip(labels, settings, strict=True)
    ]


def _telling(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """At most three keys that distinguish as many of the settings as possible, the commit only where no other does."""

    def kinds(keys: Sequence[str]) -> int:
        return len({tuple(own.get(key) for key in keys) for own in settings})

    chosen: list[str] = []
    while len(chosen) < 3:
        useful = [key for key in differing(settings) if kinds([*chosen, key]) > kinds(chosen)]
        if not useful:
            break
        chosen.append(max(useful, key=lambda key: (key != COMMIT, kinds([*chosen, key]))))
    return chosen


def _letter(place: int) -> Letter:
    """A to Z, then AA, AB, …"""
    before, last = divmod(place, 26)
    return Letter((_letter(before - 1) if before else "") + chr(ord("A") + last))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}"

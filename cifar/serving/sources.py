"""Which runs a service answers with, and under which names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cifar import tracking
from cifar.analysis import listing
from cifar.runtime.errors import InputError
from cifar.tracking.queries import StoredRun, find_runs

NAME = re.compile(r"[A-Za-z0-9._-]+")
"""What is part of an address as it is."""


@dataclass(frozen=True)
class Source:
    """A model's name, that of its run where there is none, and what finds the run that it is now."""

    name: str | None
    find: Callable[[], StoredRun]


def named(given: str) -> Source:
    """What `RUN` or `NAME=RUN` says; raises `InputError`."""
    name, separator, run_id = given.rpartition("=")
    if separator and not NAME.fullmatch(name):
        raise InputError(f"{given}: the name of a model should be of letters, digits, '.', '_' and '-'")
    return Source(name or None, lambda: find_runs([run_id])[0])


def best_of(experiment: str, metric: str) -> Source:
    """The run that is the best of an experiment by a metric at the time; its model has the experiment's name."""

    def find() -> StoredRun:
        runs = listing.ranked(listing.select(experiment, "FINISHED", ""), metric)
        if not runs:
            raise InputError(f"experiment {experiment}: no finished run has {metric}")
        return runs[0]

    return Source(_name(experiment), find)


def found(sources: Sequence[Source], uri: str | None) -> dict[str, StoredRun]:
    """The run that each model is now, by the model's name; raises `InputError`."""
    tracking.connect_existing(uri)
    runs: dict[str, StoredRun] = {}
    for source in sources:
        run = source.find()
        if run.status != "FINISHED":
            raise InputError(f"run {run.id}: the run is {run.status}, not finished")
        name = source.name or _name(run.name)
        if name in runs:
            raise InputError(f"{name}: runs {runs[name].id} and {run.id} are both called so; name one: NAME={run.id}")
        runs[name] = run
    return runs


def _name(title: str) -> str:
    """A run's or an experiment's title as a model's name."""
    return "-".join(NAME.findall(title)) or "model"

"""The runs that a service serves, and their model names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cifar import tracking
from cifar.analysis import listing
from cifar.runtime.errors import InputError
from cifar.tracking import registry
from cifar.tracking.queries import StoredRun, find_runs

NAME = re.compile(r"[A-Za-z0-9._-]+")
"""Characters that need no escaping in an address."""


@dataclass(frozen=True)
class Source:
    """A model's name, by default that of its run, and a function that finds its current run."""

    name: str | None
    find: Callable[[], StoredRun]


def named(given: str) -> Source:
    """Parse `RUN` or `NAME=RUN`; a registered model has its own name by default. Raises `InputError`."""
    name, separator, run_id = given.rpartition("=")
    if separator and not NAME.fullmatch(name):
        raise InputError(f"{given}: a model's name should consist of letters, digits, '.', '_' and '-'")
    if not name and registry.is_address(run_id):
        name = _name(registry.model_name(run_id))
    return Source(name or None, lambda: find_runs([run_id])[0])


def best_of(experiment: str, metric: str) -> Source:
    """The current best run of an experiment by a metric, as a model with the experiment's name."""

    def find() -> StoredRun:
        runs = listing.ranked(listing.select(experiment, "FINISHED", ""), metric)
        if not runs:
            raise InputError(f"experiment {experiment}: no finished run has {metric}")
        return runs[0]

    return Source(_name(experiment), find)


def find_current(sources: Sequence[Source], uri: str | None) -> dict[str, StoredRun]:
    """Find the current run of each model, by the model's name; raises `InputError`."""
    tracking.connect_existing(uri)
    runs: dict[str, StoredRun] = {}
    for source in sources:
        run = source.find()
        if run.status != "FINISHED":
            raise InputError(f"run {run.id}: the run is {run.status}, not finished")
        name = source.name or _name(run.name)
        if name in runs:
            raise InputError(f"{name}: name of both runs {runs[name].id} and {run.id}; rename one by NAME={run.id}")
        runs[name] = run
    return runs


def _name(title: str) -> str:
    """Convert the title of a run or an experiment to a model's name."""
    return "-".join(NAME.findall(title)) or "model"

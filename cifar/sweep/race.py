"""A race: contenders are trained with the same seeds, one after the other, until `standings` has a verdict."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from cifar import tracking
from cifar.config import objective
from cifar.config.schema import NonNegativeFloat, Strict
from cifar.config.settings import Settings
from cifar.runtime import interrupts, live
from cifar.runtime.errors import InputError
from cifar.sweep import engine, grid, jobs, race_report, search
from cifar.sweep.jobs import Job, Outcome, named
from cifar.sweep.standings import Rules, judge

LOOK = 2.0
"""Seconds between two looks for whether jobs that another process runs have ended."""


class Options(Strict):
    """How a race is run: what `conf/hydra/sweeper/race.yaml` states."""

    max_seeds: Annotated[int, Field(ge=2, le=300)]
    margin: NonNegativeFloat
    effect: Annotated[float, Field(ge=0.1, le=2.0)]


class Race:
    """The source of the jobs of a race: a job for each contender and seed, seed after seed.

    Jobs of the next seed start while those of a seed still run, where there are slots for them. Finished jobs are found
    again. A contender whose job fails takes no further part; the same command runs that job again.
    """

    total = None
    seeks_best = False

    def __init__(self, options: Options, contenders: Mapping[str, tuple[Sequence[str], Settings]]):
        """`contenders` have, by name, the overrides that make them, without a seed, and their settings."""
        self._contenders = contenders
        shared = next(iter(contenders.values()))[1]
        seeds = range(shared.seed, shared.seed + options.max_seeds)
        self._rules = Rules(shared.objectives[0], seeds, options.margin, options.effect)
        settings = [settings for _, settings in contenders.values()]
        self.name = f"race of {', '.join(contenders)}"
        self.key = hashlib.sha256(json.dumps(["race", options.effect, grid.key(settings)]).encode()).hexdigest()
        self.experiments = list(dict.fromkeys(one.tracking.experiment for one in settings))
        self._values: dict[str, dict[int, float]] = {name: {} for name in contenders}
        self._jobs = {f"{name} seed={seed}": (name, seed) for seed in seeds for name in contenders}
        self._locks: dict[str, tracking.Lock] = {}
        self._looked = float("-inf")
        self._standing = judge(self._values, self._rules)

    def begin(self, parent: tracking.SweepRun) -> None:
        self._parent = parent

    def take(self) -> Job | Outcome | None:
        if self._standing.verdict or time.monotonic() - self._looked < LOOK:
            return None
        for job_name, (name, seed) in self._jobs.items():
            is_known = job_name in self._locks or seed in self._values[name]
            if is_known or name not in self._standing.remaining:
                continue
            overrides, settings = self._contenders[name]
            if not (claimed := self._parent.claim(job_name, settings.tracking.experiment)):
                continue
            lock, child = claimed
            job = Job(job_name, (*overrides, f"seed={seed}"))
            if child and child.status == "FINISHED":
                lock.release()
                outcome = Outcome(job, "FINISHED", run_id=child.id, metrics=child.metrics)
                self._count(outcome)
                return outcome
            self._locks[job_name] = lock
            own = (*job.overrides, named(job_name), f"tracking.parent={self._parent.id}", "resume=auto")
            return Job(job_name, own, inherited=lock.descriptors)
        self._looked = time.monotonic()
        return None

    def report(self, outcome: Outcome) -> None:
        before = self._standing
        if not interrupts.pending():  # the next start of the sweep resumes the jobs that end with it
            self._count(outcome)
        self._locks.pop(outcome.job.name).release()
        if self._standing.size > before.size:
            live.clear()
            print(race_report.line(self._values, self._rules, self._standing), flush=True)

    def is_done(self) -> bool:
        return bool(self._standing.verdict)

    def conclude(self) -> None:
        print("\n" + race_report.verdict(self._values, self._rules, self._standing), flush=True)
        race_report.record(self._parent, self._values, self._rules, self._standing)

    def _count(self, outcome: Outcome) -> None:
        name, seed = self._jobs[outcome.job.name]
        value = objective.value(self._rules.metric, outcome.metrics) if outcome.status == "FINISHED" else None
        self._values[name][seed] = value if value is not None and math.isfinite(value) else math.nan
        self._looked = float("-inf")
        self._standing = judge(self._values, self._rules)


def check(settings: Sequence[Settings]) -> None:
    """Raises `InputError` where contenders with these settings cannot race."""
    search.check_shared(settings)
    objectives = settings[0].objectives
    if len(objectives) > 1 or not objectives[0].startswith("val/"):
        raise InputError(
            f"hydra/sweeper=race: compares by one validation metric, not by objective={', '.join(objectives)}"
        )
    if len({one.seed for one in settings}) > 1:
        raise InputError("seed: should be the same for all contenders; a race takes the seeds from it on")
    if len(set(grid.distinct(settings))) < len(settings):
        raise InputError("hydra/sweeper=race: two contenders have the same settings")


def run(
    options: Options, launcher: jobs.Options, contenders: Mapping[str, tuple[Sequence[str], Settings]]
) -> list[Outcome]:
    """Race the `contenders` (see `Race`), their jobs run as `launcher` says."""
    shared = next(iter(contenders.values()))[1]
    tracking.connect(shared.tracking.uri)
    return engine.run(Race(options, contenders), shared.tracking, shared.objectives, launcher)

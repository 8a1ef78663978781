"""Jobs that are known from the start; several processes that run the same ones share them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cifar import tracking
from cifar.config.renamed import oldest
from cifar.config.settings import Settings, flatten
from cifar.sweep.jobs import Job, Outcome, named

LOOK = 2.0
"""Seconds between two looks for whether jobs that another process runs have ended."""

ADDED = {"evaluate.test": (None, False), "evaluate.calibration": ("none",)}
"""Settings that earlier versions lacked, with the values in a sweep that change nothing."""


class Grid:
    """The source of `jobs`: each is taken once, by this process or by another that runs the same sweep.

    A finished job is not run again; one that ended otherwise before this sweep began is resumed.
    """

    seeks_best = True

    def __init__(self, name: str, key: str, jobs: Mapping[Job, Settings]):
        self.name, self.key = name, key
        self.total = len(jobs)
        self.experiments = list(dict.fromkeys(settings.tracking.experiment for settings in jobs.values()))
        self._waiting = dict(jobs)
        self._locks: dict[str, tracking.Lock] = {}
        self._looked = 0.0

    def begin(self, parent: tracking.SweepRun) -> None:
        self._parent = parent

    def take(self) -> Job | Outcome | None:
        if time.monotonic() - self._looked < LOOK:
            return None
        for job, settings in self._waiting.items():
            if claimed := self._parent.claim(job.name, settings.tracking.experiment, settings):
                lock, child = claimed
                del self._waiting[job]
                if child and child.status == "FINISHED":
                    lock.release()
                    return Outcome(job, "FINISHED", run_id=child.id, metrics=child.metrics)
                self._locks[job.name] = lock
                name = child.name if child else job.name
                own = (*job.overrides, named(name), f"tracking.parent={self._parent.id}", "resume=auto")
                return replace(job, overrides=own, inherited=lock.descriptors)
        self._looked = time.monotonic()
        return None

    def report(self, outcome: Outcome) -> None:
        self._locks.pop(outcome.job.name).release()

    def is_done(self) -> bool:
        return not self._waiting

    def conclude(self) -> None: ...


def key(settings: Iterable[Settings]) -> str:
    """SHA-256, in hexadecimal, of all that decides the jobs' results, whatever their order."""
    return hashlib.sha256(json.dumps(sorted(map(_decisive, settings))).encode()).hexdigest()


def distinct(settings: Sequence[Settings]) -> list[int]:
    """For each job the number of the first job that is the same run: with equal settings, in the same experiment."""
    same = [(_decisive(one), one.tracking.experiment) for one in settings]
    return [same.index(one) for one in same]


def _decisive(settings: Settings) -> str:
    """The settings that decide the results of a job."""
    ignored = ("tracking", "state", "resume")
    fixed = {key: value for key, value in oldest(flatten(settings)).items() if key.split(".")[0] not in ignored}
    for key, defaults in ADDED.items():
        if key in fixed and fixed[key] in defaults:
            del fixed[key]
    return json.dumps(fixed, sort_keys=True)

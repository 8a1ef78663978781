"""Jobs that are known from the start; several processes that run the same ones share them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace

from cifar import tracking
from cifar.config import Settings, flatten
from cifar.sweep.jobs import Job, Outcome

LOOK = 2.0
"""Seconds between two looks for whether jobs that another process runs have ended."""


class Grid:
    """The source of `jobs`: each is taken once, by this process or by another that runs the same sweep.

    A job that has ended well is not run again, one that has ended otherwise before this sweep began is gone on with.
    """

    def __init__(self, name: str, jobs: Sequence[Job], settings: Sequence[Settings]):
        self.name, self.total = name, len(jobs)
        self.key = _key(settings)
        self._waiting = list(jobs)
        self._claims: dict[str, tracking.Claim] = {}
        self._looked = 0.0

    def begin(self, parent: tracking.SweepRun) -> None:
        self._parent = parent

    def take(self) -> Job | Outcome | None:
        if time.monotonic() - self._looked < LOOK:
            return None
        for job in self._waiting:
            if claim := self._parent.claim(job.name):
                self._waiting.remove(job)
                child = self._parent.child(job.name)
                if child and child.status == "FINISHED":
                    claim.release()
                    return Outcome(job, "FINISHED", run_id=child.id, metrics=child.metrics)
                self._claims[job.name] = claim
                own = (*job.overrides, f"tracking.parent={self._parent.id}", "resume=auto")
                return replace(job, overrides=own, inherited=claim.descriptors)
        self._looked = time.monotonic()
        return None

    def give_back(self, outcome: Outcome) -> None:
        self._claims.pop(outcome.job.name).release()

    def is_done(self) -> bool:
        return not self._waiting


def _key(settings: Sequence[Settings]) -> str:
    """SHA-256, in hexadecimal, of all that decides the jobs' results, whatever their order."""
    jobs = [
        {key: value for key, value in flatten(one).items() if key.split(".")[0] not in ("tracking", "state", "resume")}
        for one in settings
    ]
    return hashlib.sha256(json.dumps(sorted(json.dumps(job, sort_keys=True) for job in jobs)).encode()).hexdigest()

"""A job of a sweep: what it is, the process that it runs in, how it ended, and what runs it."""

from __future__ import annotations

import re
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cifar.config import options
from cifar.config.command_line import quoted
from cifar.config.schema import PositiveFloat, PositiveInt, Strict
from cifar.runtime import job_report, machine
from cifar.runtime.paths import RUN_PROCESS

GRACE = 20.0
"""Seconds that a job has to save its checkpoint and end after it is asked to."""
MESSAGE = re.compile(r"(error|failed|[\w.]+(Error|Exception)): ")
"""How the last line of a console begins where it says why the job ended."""


@dataclass(frozen=True)
class Job:
    """One job: its `name` is unique within its sweep, and its `overrides` define the run.

    A job that trains the best of a sweep's settings again `confirms` that setting.
    """

    name: str
    overrides: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    inherited: tuple[int, ...] = ()
    """File descriptors that the process keeps open."""
    confirms: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a job ended: FINISHED, FAILED, PRUNED, or KILLED with its sweep; with the reason where it is not FINISHED."""

    job: Job
    status: str
    reason: str = ""
    run_id: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Slot:
    """What one job at a time gets of this machine."""

    number: int
    cores: frozenset[int] = frozenset()
    gpu: str | None = None

    @property
    def variables(self) -> dict[str, str]:
        return {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu}


def named(name: str) -> str:
    """The override that gives a run its `name`, whatever is in it."""
    return f"tracking.name={quoted(name)}"


class Process(ABC):
    """A training process with a job's overrides; its console and reports are files in `folder`.

    `reported` holds the last value of each reported key, `metrics` all metrics, `epochs` those of each epoch.
    """

    def __init__(self, job: Job, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.job, self.folder = job, folder
        self.reported: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.epochs: list[dict[str, float]] = []
        self._read = 0
        self._started = time.monotonic()

    @property
    def command(self) -> list[str]:
        # A job whose settings ask for a sweep, as those of `conf/sweep/` do, is none itself.
        return [*RUN_PROCESS, *options.inherited(sys.argv[1:]), *self.job.overrides, "hydra.mode=RUN"]

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def report(self) -> Path:
        return self.folder / "report.jsonl"

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def is_over(self) -> bool:
        """True if the job has ended; reads its reports."""
        over = self._has_ended()
        lines, self._read = job_report.read(self.report, self._read)
        for line in lines:
            metrics = line.pop("metrics", {})
            self.reported |= line
            self.metrics |= metrics
            if "epoch" in line:
                self.epochs.append(metrics)
        return over

    @abstractmethod
    def end(self, signum: int) -> None:
        """Tell the job to save its state and end."""

    @abstractmethod
    def _has_ended(self) -> bool: ...

    @abstractmethod
    def _cut_short(self) -> str:
        """Why the job, which is over, was not let run to its end; empty where it was."""

    @abstractmethod
    def _code(self) -> int | None:
        """The exit code of the job, which is over; `None` where nobody has it."""

    def outcome(self) -> Outcome:
        """How the job, which is over, ended."""
        code, status = self._code(), self.reported.get("status", "FAILED")
        cut_short = self._cut_short()
        if cut_short or (status == "FINISHED" and code):
            status = "FAILED"
        reason = "" if status == "FINISHED" else cut_short or self.reported.get("reason") or self._why(code)
        return Outcome(self.job, status, reason, self.reported.get("run", ""), self.metrics, self.seconds)

    def _why(self, code: int | None) -> str:
        if code is None:
            return "ended without an exit code"
        if code == -signal.SIGKILL:
            return "killed by SIGKILL: by hand, or out of memory"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        with self.console.open(errors="replace") as console:
            last = "".join(deque(console, 1)).strip()
        return f"exit code {code}: {last}" if MESSAGE.match(last) else f"exit code {code}"


class Options(Strict, ABC):
    """How the jobs of a sweep are run: what all of `conf/hydra/launcher/` state."""

    n_jobs: PositiveInt
    timeout: PositiveFloat | None
    fail_fast: bool
    resume: bool

    def check(self) -> None:
        """Raises `InputError` where no job can be started."""

    def slots(self) -> list[Slot]:
        """The cores of this machine divided among the slots, and a GPU for each where there are any."""
        cores, gpus = sorted(machine.cores()), machine.gpus()
        shares = [cores[n :: self.n_jobs] or [cores[n % len(cores)]] for n in range(self.n_jobs)]
        return [Slot(n, frozenset(share), gpus[n % len(gpus)] if gpus else None) for n, share in enumerate(shares)]

    @abstractmethod
    def start(self, job: Job, folder: Path, slot: Slot) -> Process:
        """Run `job`, its files in `folder`."""

    def close(self) -> None:
        """Let go of what jobs are started with, once all have ended."""

"""A job of a sweep: what it is, how it is run, the process it runs in, and how it ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cifar import environment, reporting
from cifar.environment import ROOT
from cifar.errors import DEBUG
from cifar.schema import PositiveFloat, PositiveInt, Strict

GRACE = 20.0
"""Seconds that a job has to save its state and end, from when it is told to."""
MESSAGE = re.compile(r"(error|failed|[\w.]+(Error|Exception)): ")
"""How the last line of a console begins where it says why the job ended."""


class Options(Strict):
    """How the jobs of a sweep are run: what `conf/hydra/launcher/process.yaml` states."""

    n_jobs: PositiveInt
    timeout: PositiveFloat | None
    fail_fast: bool
    resume: bool


@dataclass(frozen=True)
class Job:
    """One run to be: `name` tells it from the others of its sweep, `overrides` are all that make it."""

    name: str
    overrides: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    inherited: tuple[int, ...] = ()
    """File descriptors that the process keeps open."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended: FINISHED, FAILED, PRUNED, or KILLED with its sweep; with the reason where it is not FINISHED."""

    job: Job
    status: str
    reason: str = ""
    run_id: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Process:
    """`python run.py` with a job's overrides on the `cores` of its slot, writing its console to a file in `folder`.

    What it tells comes to `told`, the last of each thing; all `metrics`; and those of each of its `epochs`.
    """

    def __init__(self, job: Job, folder: Path, variables: Mapping[str, str], cores: Collection[int]):
        folder.mkdir(parents=True, exist_ok=True)
        self.job, self.folder = job, folder
        self.told: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.epochs: list[dict[str, float]] = []
        self._report, self._read = folder / "report.jsonl", 0
        self._report.unlink(missing_ok=True)
        self._started, self._told_to_end, self._timed_out = time.monotonic(), None, ""
        inherited = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR" or DEBUG}
        told = {reporting.REPORT: str(self._report), reporting.SWEEP: str(os.getpid())}
        with self.console.open("wb") as console:
            # In a session of its own, the job does not hear the terminal's Ctrl-C beside what is passed on.
            self._process = subprocess.Popen(
                # A job whose settings ask for a sweep, as those of `conf/sweep/` do, is none itself.
                [sys.executable, ROOT / "run.py", *job.overrides, "hydra.mode=RUN"],
                env={**inherited, **told, **variables, **job.environment}, pass_fds=job.inherited,
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip
        environment.keep_to(self._process.pid, cores)

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def is_over(self) -> bool:
        """Whether the job has ended; reads what it has told, and kills it where it does not end as it should."""
        code = self._process.poll()
        lines, self._read = reporting.read(self._report, self._read)
        for line in lines:
            metrics = line.pop("metrics", {})
            self.told |= line
            self.metrics |= metrics
            if "epoch" in line:
                self.epochs.append(metrics)
        if code is None and self._told_to_end and time.monotonic() - self._told_to_end > GRACE:
            self._process.kill()
        return code is not None

    def time_out(self, minutes: float) -> None:
        """End the job, as FAILED, where it has run for `minutes`."""
        if self.seconds > 60 * minutes and not self._timed_out:
            self._timed_out = f"timed out after {minutes:g} minutes"
            self.end(signal.SIGTERM)

    def end(self, signum: int) -> None:
        """Tell the job to save its state and end."""
        self._told_to_end = self._told_to_end or time.monotonic()
        self._process.send_signal(signum)

    def outcome(self) -> Outcome:
        """How the job, which is over, ended."""
        code, status = self._process.returncode, self.told.get("status", "FAILED")
        if self._timed_out or (status == "FINISHED" and code):
            status = "FAILED"
        reason = "" if status == "FINISHED" else self._timed_out or self.told.get("reason") or self._why(code)
        return Outcome(self.job, status, reason, self.told.get("run", ""), self.metrics, self.seconds)

    def _why(self, code: int) -> str:
        if code == -signal.SIGKILL:
            return "killed by SIGKILL: by hand, or out of memory"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        with self.console.open(errors="replace") as console:
            last = "".join(deque(console, 1)).strip()
        return f"exit code {code}: {last}" if MESSAGE.match(last) else f"exit code {code}"

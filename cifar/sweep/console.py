"""A sweep as the terminal shows it: a line for each job that begins or ends, and below them the jobs that run."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Collection
from typing import TextIO

from cifar.config.objective import lower_is_better
from cifar.runtime.live import LiveLines
from cifar.runtime.terminal import duration, table
from cifar.sweep.jobs import Job, Outcome, Process
from cifar.sweep.results import setting_columns

REDRAW = 0.5
"""Seconds between two pictures of the jobs that run."""


class Console:
    """On a terminal, the jobs that run are shown in a table that is rewritten in place."""

    def __init__(self, total: int | None, objective: str, stream: TextIO | None = None):
        self._total, self._objective = total, objective
        self._lines = LiveLines(stream, REDRAW)
        self._begun = 0
        self._ended: list[Outcome] = []
        self._start = time.monotonic()

    def started(self, job: Job) -> None:
        self._begun += 1
        self._lines.print(f"job {self._begun}{f'/{self._total}' if self._total else ''}: {job.name}")

    def ended(self, outcome: Outcome) -> None:
        self._ended.append(outcome)
        reason = f": {outcome.reason}" if outcome.reason else ""
        spent = duration(outcome.seconds) if outcome.seconds else "earlier"
        self._lines.print(f"{outcome.status} {outcome.job.name}{reason} ({spent})")

    def draw(self, running: Collection[Process]) -> None:
        """Show what the jobs that run have reported, at most twice a second."""
        if not self._lines.is_due:
            return
        if not running:
            self._lines.show([self._summary(0)])
            return
        names = setting_columns([process.job.name for process in running])
        rows = [[*names[0], "epoch", f"best {self._objective}", "time", "left"]]
        rows += [[*name, *self._row(process)] for name, process in zip(names[1:], running, strict=True)]
        columns = shutil.get_terminal_size().columns
        self._lines.show([*table(rows, columns - 1).splitlines(), self._summary(len(running))])

    def close(self) -> None:
        """Erase the jobs that run, so that the results begin on a line of their own."""
        self._lines.clear()

    def _row(self, process: Process) -> tuple[str, ...]:
        values = [metrics[self._objective] for metrics in process.epochs if self._objective in metrics]
        best = (min if lower_is_better(self._objective) else max)(values, default=None)
        done, total = process.reported.get("epoch"), process.reported.get("epochs")
        left = process.seconds / len(process.epochs) * (total - done) if done else None
        return (
            f"{done}/{total}" if done else "starting",
            "" if best is None else f"{best:.4f}",
            duration(process.seconds),
            "" if left is None else duration(left),
        )

    def _summary(self, running: int) -> str:
        counts = [f"{count} {status}" for status, count in Counter(end.status for end in self._ended).items()]
        if self._total:
            counts.append(f"{self._total - len(self._ended) - running} waiting")
        seconds = [end.seconds for end in self._ended if end.seconds]
        if self._total and seconds and running:
            left = (self._total - len(self._ended)) * sum(seconds) / len(seconds) / running
            counts.append(f"about {duration(left)} left")
        return ", ".join([f"{duration(time.monotonic() - self._start)}: {running} running", *counts])

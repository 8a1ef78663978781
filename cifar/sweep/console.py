"""A sweep as the terminal shows it: a line for each job that begins or ends, and below them the jobs that run."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Collection
from typing import TextIO

from cifar.config.objective import lower_is_better
from cifar.runtime.output import is_live
from cifar.runtime.terminal import duration, fitted, table, width_of
from cifar.sweep.jobs import Job, Outcome, Process

REDRAW = 0.5
"""Seconds between two pictures of the jobs that run."""


class Console:
    """On a terminal, the jobs that run are shown in a table that is rewritten in place."""

    def __init__(self, total: int | None, objective: str, stream: TextIO | None = None):
        self._total, self._objective, self._stream = total, objective, stream or sys.stdout
        self._live = is_live(self._stream)
        self._drawn, self._begun = 0.0, 0
        self._shown: list[str] = []
        self._ended: list[Outcome] = []
        self._start = time.monotonic()

    def started(self, job: Job) -> None:
        self._begun += 1
        self._line(f"job {self._begun}{f'/{self._total}' if self._total else ''}: {job.name}")

    def ended(self, outcome: Outcome) -> None:
        self._ended.append(outcome)
        reason = f": {outcome.reason}" if outcome.reason else ""
        spent = duration(outcome.seconds) if outcome.seconds else "earlier"
        self._line(f"{outcome.status} {outcome.job.name}{reason} ({spent})")

    def draw(self, running: Collection[Process]) -> None:
        """Show what the jobs that run have told, at most twice a second."""
        if not self._live or time.monotonic() - self._drawn < REDRAW:
            return
        self._drawn = time.monotonic()
        rows = [("job", "epoch", f"best {self._objective}", "time", "left"), *map(self._row, running)]
        width = shutil.get_terminal_size().columns
        self._rewrite([*table(rows, width - 1).splitlines(), self._summary(len(running))])

    def _row(self, process: Process) -> tuple[str, ...]:
        values = [metrics[self._objective] for metrics in process.epochs if self._objective in metrics]
        best = (min if lower_is_better(self._objective) else max)(values, default=None)
        done, total = process.told.get("epoch"), process.told.get("epochs")
        left = process.seconds / len(process.epochs) * (total - done) if done else None
        return (
            process.job.name,
            f"{done}/{total}" if done else "starting",
            "" if best is None else f"{best:.4f}",
            duration(process.seconds),
            "" if left is None else duration(left),
        )

    def _summary(self, running: int) -> str:
        told = [f"{count} {status}" for status, count in Counter(end.status for end in self._ended).items()]
        if self._total:
            told.append(f"{self._total - len(self._ended) - running} waiting")
        taken = [end.seconds for end in self._ended if end.seconds]
        if self._total and taken and running:
            left = (self._total - len(self._ended)) * sum(taken) / len(taken) / running
            told.append(f"about {duration(left)} left")
        return ", ".join([f"{duration(time.monotonic() - self._start)}: {running} running", *told])

    def _line(self, text: str) -> None:
        """Write a line that stays, above what is rewritten."""
        self._rewrite([])
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def _rewrite(self, lines: list[str]) -> None:
        width, height = shutil.get_terminal_size()
        # In a terminal that has become narrower, a line that was written before takes several rows.
        if rows := sum(-(-max(width_of([[line]]), 1) // width) for line in self._shown):
            self._stream.write(f"\x1b[{rows}F\x1b[J")
        self._shown = [fitted(line, width - 1) for line in lines[: height - 1]]
        self._stream.write("".join(f"{line}\n" for line in self._shown))
        self._stream.flush()

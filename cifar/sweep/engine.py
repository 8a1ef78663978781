"""Runs the jobs that a source gives, several at a time, as children of one run."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Protocol

from cifar import tracking
from cifar.config.settings import TrackingSettings
from cifar.runtime import interrupts
from cifar.runtime.errors import Interrupted, TrainingError, warn
from cifar.sweep import next_step, results
from cifar.sweep.console import Console
from cifar.sweep.jobs import Job, Options, Outcome, Process, Slot

LACKS = "lacks"
"""A tag of a sweep: what could not be made of its results, and why."""
PAUSE = 0.1
"""Seconds between two looks at the jobs that run."""


class Source(Protocol):
    """The source of a sweep's jobs, which is notified how they end."""

    name: str
    key: str
    """The identity of this sweep: a sweep with the same key is resumed."""

    @property
    def total(self) -> int | None:
        """The number of jobs; `None` where it is not known."""

    @property
    def experiments(self) -> Sequence[str]:
        """Where the jobs are recorded."""

    @property
    def seeks_best(self) -> bool:
        """True if the best job is the result; else `conclude` prints what is."""

    def begin(self, parent: tracking.SweepRun) -> None:
        """Get ready; `parent` is the run whose children the jobs become."""

    def take(self) -> Job | Outcome | None:
        """The next job, which is this process's to run, or how it ended where it has been run; `None` if none now."""

    def report(self, outcome: Outcome) -> None:
        """Hear how a job that was taken has ended."""

    def is_done(self) -> bool:
        """True if no job is left, and none that another process runs is awaited."""

    def conclude(self) -> None:
        """Record and print what else the source has found, once all jobs have ended."""


def run(source: Source, settings: TrackingSettings, objectives: list[str], options: Options) -> list[Outcome]:
    """Run the jobs of `source`, several at a time; record and show what comes of them.

    A job that fails does not keep the others from running, unless with `fail_fast`; at the end `TrainingError` is
    raised where one has failed or was killed. A signal is passed on to the jobs that run.
    """
    from cifar.sweep import pictures

    named = settings.model_copy(update={"name": source.name})
    recorded = tracking.sweep(named, source.key, source.experiments, options.resume)
    with interrupts.handled(), recorded as parent:
        jobs = "" if source.total is None else f", {source.total} jobs"
        print(
            f"sweep {parent.id}: {source.name.removeprefix('sweep of ')}{jobs}, {options.n_jobs} at a time", flush=True
        )
        source.begin(parent)
        parent.log_note()
        sweep = Sweep(source, parent, objectives, options)
        sweep.execute()
        with optional(parent, "the table over the seeds"):
            if groups := results.over_seeds(sweep.searched, objectives):
                parent.log_table(results.group_rows(groups), "over_seeds.csv")
        with optional(parent, "the pictures"):
            pictures.record(parent, sweep.searched, objectives)
        with optional(parent, "the printed table"):
            print("\n" + results.report(sweep.searched, objectives), flush=True)
        with optional(parent, "the description"):
            parent.log_note(results.table(sweep.searched, objectives))
        with optional(parent, "the conclusion"):
            source.conclude()
        if source.seeks_best:
            with optional(parent, "the best job"):
                print("\n" + next_step.lines(sweep.searched, objectives, parent.id, parent.commands), flush=True)
        if lost := sweep.lost:
            how = "failed" if any(outcome.status == "FAILED" for outcome in lost) else "killed"
            names = "; ".join(outcome.job.name for outcome in lost)
            raise TrainingError(f"{len(lost)} of {len(sweep.outcomes)} jobs {how}: {names}")
    return sweep.outcomes


@contextmanager
def optional(parent: tracking.SweepRun, what: str) -> Iterator[None]:
    """Inside the `with`, a failure is a warning and a tag of the sweep: its jobs are recorded."""
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:
        message = (str(error).splitlines() or [""])[0]
        reason = f"{what}: {type(error).__name__}: {message}"
        warn(f"sweep {parent.id} lacks {reason}")
        with suppress(Exception):  # the store may be what has failed
            parent.log_tags({LACKS: reason})


class Sweep:
    """The jobs of a source while they run; `outcomes` are those that have ended, in that order."""

    def __init__(self, source: Source, parent: tracking.SweepRun, objectives: list[str], options: Options):
        self.outcomes: list[Outcome] = []
        self._source, self._parent, self._objectives, self._options = source, parent, objectives, options
        self._console = Console(source.total, objectives[0])
        self._free = options.slots()
        self._running: dict[Slot, Process] = {}
        self._stopped = False

    @property
    def searched(self) -> list[Outcome]:
        """The outcomes without those that confirm the best of them."""
        return [outcome for outcome in self.outcomes if not outcome.job.confirms]

    @property
    def lost(self) -> list[Outcome]:
        """The outcomes that failed, or were killed by another than this sweep."""
        statuses = ("FAILED",) if self._stopped else ("FAILED", "KILLED")
        return [outcome for outcome in self.outcomes if outcome.status in statuses]

    def execute(self) -> None:
        """Run until all jobs have ended; raises `Interrupted` once a signal has ended the running ones."""
        try:
            while self._running or not (self._stopped or self._source.is_done()):
                interrupts.check()
                self._start_jobs()
                self._look_after_jobs()
                self._console.draw(self._running.values())
                time.sleep(PAUSE)
        except Interrupted as error:
            self._end_jobs(error.signum)
            raise
        finally:
            self._console.close()
            self._options.close()

    def _start_jobs(self) -> None:
        while self._free and not self._stopped and (taken := self._source.take()):
            if isinstance(taken, Outcome):
                self._record(taken)
                continue
            slot = self._free.pop(0)
            folder = self._parent.folder / hashlib.sha256(taken.name.encode()).hexdigest()[:12]
            job = replace(taken, environment={**self._parent.environment, **taken.environment})
            self._running[slot] = self._options.start(job, folder, slot)
            self._console.started(taken)

    def _look_after_jobs(self) -> None:
        for slot, process in list(self._running.items()):
            if process.is_over():
                del self._running[slot]
                self._free.append(slot)
                self._end_job(process)

    def _end_job(self, process: Process) -> None:
        outcome = process.outcome()
        if outcome.run_id:
            metrics = self._parent.end_child(outcome.run_id, outcome.status, outcome.reason, process.console)
            # Its reports are more complete than the store where the server was unreachable.
            outcome = replace(outcome, metrics={**metrics, **outcome.metrics})
        self._record(outcome)
        self._source.report(outcome)
        if outcome.status == "FAILED" and self._options.fail_fast and not self._stopped:
            self._stopped = True
            for other in self._running.values():
                other.end(signal.SIGTERM)

    def _end_jobs(self, signum: int) -> None:
        for process in self._running.values():
            process.end(signum)
        while self._running:
            self._look_after_jobs()
            time.sleep(PAUSE)

    def _record(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._console.ended(outcome)
        with optional(self._parent, "the table of results"):
            if not outcome.job.confirms:
                self._parent.log_table(results.rows(self.searched, self._objectives), "results.csv")

"""A run from its start to its end: what became of it is recorded, however it ends."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING

from cifar.config.settings import Settings, TrackingSettings
from cifar.files import ownership
from cifar.runtime import job_report, live
from cifar.runtime.errors import InputError, Interrupted, Pruned, TrainingError, reason, warn
from cifar.tracking import store
from cifar.tracking.names import FAILURE
from cifar.tracking.run import Run
from cifar.tracking.unfinished import Unfinished


class Unrecorded(Run):
    """A run that leaves nothing; what it would record goes nowhere."""

    def __init__(self, folder: Path):
        self.id, self.folder, self.is_described, self.last_step, self._final = "", folder, True, 0, {}
        self.name = ""

    store = ""

    def log_warning(self, line: str) -> None:
        pass

    def log_start(self, settings: Settings, epoch: int, step: int) -> None:
        pass

    def _try(self, call: Callable[[mlflow.MlflowClient], Any]) -> Any:
        pass


@contextmanager
def unrecorded() -> Iterator[Run]:
    """A run of which another process keeps the record."""
    with tempfile.TemporaryDirectory() as folder:
        yield Unrecorded(Path(folder))


@contextmanager
def start(settings: TrackingSettings, unfinished: Unfinished | None = None) -> Iterator[Run]:
    """A new run, or an `unfinished` one; RUNNING inside the `with`, and FINISHED, KILLED or FAILED afterwards.

    The store is the one that `connect` has opened. For as long as the run is RUNNING, this process has the lock on it.
    """
    run = Run(mlflow.get_tracking_uri(), settings, unfinished.id if unfinished else None)
    lock = unfinished.lock if unfinished else run.claim_itself()
    assert lock
    lock.sign(lambda: _end_at_once(run.id))
    try:
        with recorded(run), _system_metrics(run, settings.system_metrics):
            yield run
        lock.end()
    finally:
        lock.release()


def _end_at_once(run_id: str) -> None:
    """End this process without another write: what the run has written since is another process's."""
    live.clear()
    print(f"failed: run {run_id}: another process resumed it while the store did not answer here", file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)


@contextmanager
def _system_metrics(run: Run, is_wanted: bool) -> Iterator[None]:
    """Inside the `with`, MLflow records the use of this machine, if that or its own variable asks for it."""
    monitor = None
    if is_wanted or MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get():
        with run.optional("system metrics"):
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor  # needs psutil

            monitor = SystemMetricsMonitor(run.id, resume_logging=True)
            monitor.start()
    try:
        yield
    finally:
        if monitor:
            monitor.finish()


@contextmanager
def recorded(run: Run) -> Iterator[Run]:
    """Inside the `with`, `run` is RUNNING; afterwards what became of it."""
    job_report.report(run=run.id)
    try:
        with store.reported(InputError, f"run {run.id}"):
            ownership.make_folder(run.folder)
        yield run
    except BaseException as error:
        status, why = _status(error), reason(error)
        try:
            run.log_tags({FAILURE: why})
            if status == "FAILED":
                run.log_text("".join(traceback.format_exception(error)), "traceback.txt")
            run.end(status, why)
        except TrainingError as unrecorded:
            job_report.report(status=status, reason=why)
            if str(unrecorded) != why:
                warn(f"the end of the run is not recorded: {unrecorded}")
        if note := run.note_on(error):
            error.add_note(note)
        if status == "PRUNED":
            ownership.remove_folder(run.folder)
        raise
    run.finish()
    if not run.can_be_extended:
        ownership.remove_folder(run.folder)


def _status(error: BaseException) -> str:
    if isinstance(error, Pruned):
        return "PRUNED"
    return "KILLED" if isinstance(error, KeyboardInterrupt | Interrupted) else "FAILED"

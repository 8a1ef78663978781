"""Writing to the record of a run in MLflow, also when its server goes away."""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import mlflow
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags

from cifar.config.settings import TrackingSettings
from cifar.runtime import job_report, processes
from cifar.runtime.errors import InputError, TrainingError, first_line, warn
from cifar.runtime.paths import COMMAND
from cifar.runtime.terminal import unescaped
from cifar.tracking import addresses, locks, notes, store
from cifar.tracking.names import PROCESS, SYNC_RUN, SYNC_URI
from cifar.tracking.runs import end_stale
from cifar.tracking.store import Result

PATIENCE = 30.0
"""Seconds for which a run that has started waits for a server that does not answer."""


class Recorder:
    """The record of a run; `folder` is its place on this machine for what is not an artifact yet.

    When the server stays away, the rest is recorded in the local store, whence `synchronise` sends it.
    """

    def __init__(self, uri: str, settings: TrackingSettings, run_id: str | None = None):
        self._uri, self._settings = uri, settings
        self._error: type[InputError | TrainingError] = InputError
        self._command = notes.shown(sys.orig_argv)
        self._id = run_id or self._try(self._create)
        self.id = self._id
        self.folder = addresses.folder(uri) / self.id / "work"

    @property
    def store(self) -> str:
        """The address at which the run is recorded; empty for the default store."""
        shown = addresses.shown(self._uri)
        return "" if shown == addresses.LOCAL else shown

    @property
    def commands(self) -> str:
        """How a command line on the runs of this store begins."""
        return f"{COMMAND} --tracking-uri {shlex.quote(self.store)}" if self.store else COMMAND

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        rows = [RunTag(name, unescaped(str(value))) for name, value in tags.items()]
        self._try(lambda client: client.log_batch(self._id, tags=rows))

    def log_text(self, text: str, name: str) -> None:
        self._try(lambda client: client.log_text(self._id, unescaped(text), name))

    def _text(self, name: str) -> str:
        """An artifact that is recorded already; empty where there is none."""

        def read_text(client: mlflow.MlflowClient) -> str:
            if name not in (entry.path for entry in client.list_artifacts(self._id)):
                return ""
            with tempfile.TemporaryDirectory() as folder:
                return Path(client.download_artifacts(self._id, name, folder)).read_text()

        return self._try(read_text)

    def log_table(self, table: Any, name: str) -> None:
        """A text, a list of rows for a `.csv`, or what JSON can hold for a `.json`."""
        self.log_text(_as_text(name, table), f"tables/{name}")

    def log_file(self, path: Path, folder: str | None = None) -> None:
        self._try(lambda client: client.log_artifact(self._id, str(path), folder))

    @contextmanager
    def optional(self, name: str) -> Iterator[None]:
        """Inside the `with`, a failure is a warning and a tag of the run, which continues: `name` is not recorded."""
        try:
            yield
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            warn(f"{name} not recorded: {reason}")
            self.log_tags({f"not_recorded.{name}": reason})

    def end(self, status: str, reason: str = "") -> None:
        self._try(lambda client: client.set_terminated(self._id, recorded_status(status)))
        job_report.report(status=status, reason=reason)

    def claim_itself(self) -> locks.Lock:
        """The lock on this run, which nobody else knows of yet."""
        with store.reported(InputError, f"run {self._id}", self._uri):
            lock = store.claim_run(self._uri, self._id)
        assert lock
        return lock

    def _create(self, client: mlflow.MlflowClient) -> str:
        note = notes.of_run(self._settings.note, self._command, {})
        tags = {**self._settings.tags, PROCESS: processes.this_process(), notes.NOTE: note}
        tags = {unescaped(name): unescaped(str(value)) for name, value in tags.items()}
        if self._settings.parent:
            tags["mlflow.parentRunId"] = self._settings.parent
        experiment = store.experiment_id(self._uri, unescaped(self._settings.experiment))
        name = unescaped(self._settings.name) if self._settings.name else None
        end_stale(client, experiment)
        return str(client.create_run(experiment, run_name=name, tags=resolve_tags(tags)).info.run_id)

    def _try(self, call: Callable[[mlflow.MlflowClient], Result]) -> Result:
        """Call with a client of the store; raises `InputError` before the run has started, then `TrainingError`."""
        with store.reported(self._error, f"run {self._id}" if hasattr(self, "_id") else "a new run", self._uri):
            return self._call(call)

    @property
    def _patience(self) -> float:
        """Seconds for which a server that does not answer is asked again."""
        return PATIENCE if self._error is TrainingError else 0

    def _call(self, call: Callable[[mlflow.MlflowClient], Result]) -> Result:
        """Call with a client of the store, the local one from when the server stays away."""
        if addresses.is_local(self._uri):
            return self._called(call)
        try:
            return store.retry(self._uri, lambda: self._called(call), self._patience)
        except store.FAILURES as error:
            if not store.is_unreachable(error):
                raise
            where = addresses.shown(self._uri)
            warn(f"{where} does not answer; the rest is recorded in {addresses.LOCAL}: `{COMMAND} sync` sends it")
        server, self._uri = self._uri, addresses.normalized(addresses.LOCAL)
        store.connect(addresses.LOCAL)
        server_run = getattr(self, "_id", "")
        self._id = self._create(mlflow.MlflowClient(self._uri))
        self.log_tags({SYNC_URI: server, SYNC_RUN: server_run})
        return cast("Result", self._id) if call == self._create else self._called(call)

    def _called(self, call: Callable[[mlflow.MlflowClient], Result]) -> Result:
        client = mlflow.MlflowClient(self._uri)
        try:
            return call(client)
        except MlflowException as error:
            # Another job of a sweep has just made the row that this one looked for, as of their data set.
            if "unique constraint" not in str(error).lower():
                raise
            return call(client)


def recorded_status(status: str) -> str:
    """MLflow's word for how a run has ended; it has none for a run that was pruned."""
    return "KILLED" if status == "PRUNED" else status


def _as_text(name: str, table: Any) -> str:
    if name.endswith(".json"):
        # JSON has no NaN.
        return json.dumps(json.loads(json.dumps(table), parse_constant=lambda name: None), indent=2)
    if name.endswith(".csv"):
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: "" if value != value else value for key, value in row.items()} for row in table)  # NaN
        return buffer.getvalue()
    return str(table)

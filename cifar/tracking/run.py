"""A run while it is being recorded."""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import mlflow
import numpy as np
import yaml
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.models import ModelSignature
from mlflow.tracking.context.registry import resolve_tags
from mlflow.types import Schema, TensorSpec

from cifar.config import extensions
from cifar.config.compose import read
from cifar.config.settings import Settings, TrackingSettings, flatten, identity, located
from cifar.files import hashing
from cifar.interfaces import Dataset, Evaluation
from cifar.runtime import job_report, processes
from cifar.runtime.errors import InputError, Interrupted, TrainingError, first_line, is_expected, warn
from cifar.runtime.lazy import keras
from cifar.runtime.paths import COMMAND, EVENT_FILES, RUN, WEIGHTS
from cifar.runtime.quiet import silenced
from cifar.runtime.terminal import unescaped
from cifar.tracking import addresses, environment, locks, notes, starts, store, view
from cifar.tracking.names import (
    CONFIG,
    DATASET,
    DESCRIBED,
    FAILURE,
    PROCESS,
    SYNC_RUN,
    SYNC_URI,
    TEST_FINGERPRINT,
    WEIGHTS_FILE,
    looks_at,
)
from cifar.tracking.runs import end_stale
from cifar.tracking.store import CODE, FINGERPRINT, IDENTITY, RESUMED, SCHEDULE_MOVED, STARTS, Result

INTERRUPTIONS = (KeyboardInterrupt, Interrupted, OSError)
"""Errors after which a run can be resumed."""


class Run:
    """A run that is being recorded; `folder` is its place on this machine for what is not an artifact yet.

    When the server goes away, the rest is recorded in the local store, whence `synchronise` sends it.
    """

    def __init__(self, uri: str, settings: TrackingSettings, run_id: str | None = None):
        self._uri, self._settings = uri, settings
        self._error: type[InputError | TrainingError] = InputError
        self.name = settings.name
        self.is_described = False
        self.last_step = 0
        self._final: dict[str, float] = {}
        self._tags: dict[str, str] = {}
        self._warnings: list[str] = []
        self._params: frozenset[str] = frozenset()
        self._command = notes.shown(sys.orig_argv)
        self._id = run_id or self._try(self._create)
        self.id = self._id
        self.folder = addresses.folder(uri) / self.id / "work"
        if run_id:
            stored = self._try(lambda client: client.get_run(self._id)).data
            self.is_described, self._final = DESCRIBED in stored.tags, dict(stored.metrics)
            self._tags, self._params = stored.tags, frozenset(stored.params)
            # First the process, by which others see that the run is not one that was killed.
            self.log_tags({PROCESS: processes.this_process()})
            self._try(lambda client: client.update_run(self._id, "RUNNING"))
            if FAILURE in stored.tags:
                self._try(lambda client: client.delete_tag(self._id, FAILURE))
            history = self._try(lambda client: client.get_metric_history(self._id, "train/loss"))
            self.last_step = max((metric.step for metric in history), default=0)
        self._error = TrainingError

    @property
    def store(self) -> str:
        """Where the run is recorded, for the end of a line; empty for the default store."""
        shown = addresses.shown(self._uri)
        return "" if shown == addresses.LOCAL else f"; recorded in {shown}"

    @property
    def commands(self) -> str:
        """How a command line on the runs of this store begins."""
        return COMMAND if not self.store else f"{COMMAND} --tracking-uri {shlex.quote(addresses.shown(self._uri))}"

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record `metrics` at `step`, an epoch counted from 1, in one call; at 0 what a resumed run lacks of them.

        What is not finite is left out with a warning.
        """
        values = {name: float(value) for name, value in metrics.items()}
        for name in [name for name, value in values.items() if not math.isfinite(value)]:
            warn(f"{name} not recorded: it is {values.pop(name)}")
        job_report.report(metrics=values, **({"epoch": step} if step else {}))
        now = int(time.time() * 1000)
        if step == 0:
            values = {name: value for name, value in values.items() if value != self._final.get(name)}
            self._final |= values
        rows = [Metric(name, value, now, step) for name, value in values.items()]
        self._try(lambda client: client.log_batch(self._id, rows))
        self.last_step = max(self.last_step, step)

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        rows = [RunTag(name, unescaped(str(value))) for name, value in tags.items()]
        self._try(lambda client: client.log_batch(self._id, tags=rows))

    def log_settings(self, settings: Settings) -> None:
        """Every setting as a parameter, and all of them as `config.yaml`, as `_recordable` says."""
        if IDENTITY not in self._tags:
            self.log_tags({IDENTITY: identity(settings)})
        settings = _recordable(settings)
        rows = [Param(key, unescaped(str(value))) for key, value in flatten(settings).items()
                if key not in self._params]  # fmt: skip
        self._try(lambda client: client.log_batch(self._id, params=rows))
        self.log_text(yaml.safe_dump(settings.model_dump(), sort_keys=False), CONFIG)

    def log_extensions(self) -> None:
        """The files of the extensions that this process has loaded from a folder, in `extensions/`."""
        if loaded := extensions.named():
            for name in loaded.files:
                self._keep_file(loaded.folder / name, f"extensions/{Path(name).parent}")

    def log_described(self) -> None:
        """Tell that all is recorded that does not change any more; a run that is resumed before is described again."""
        self.log_tags({DESCRIBED: True})
        self.is_described = True

    def log_start(self, settings: Settings, epoch: int, step: int) -> None:
        """Record what the run goes by from step `step`, from 0, of epoch `epoch`, from 1, on.

        That is the command, the code, the machine and what the `settings` have changed since the last start. All starts
        are in `starts.json`. `config.yaml` has the latest settings; tags have those that changed, since parameters
        cannot change.
        """
        earlier = json.loads(self._text(STARTS) or "[]") or starts.of_earlier_version(self._tags)
        machine, code = environment.describe(), environment.code()
        changes = self._log_changes(settings, epoch)
        known = next((one["git_diff"] for one in earlier if one["git_changes"] == code.changes), None)
        diff = known or (f"git.{len(earlier) + 1}.diff" if earlier else "git.diff") if code.diff else None
        if diff and not known:
            self.log_text(code.diff, diff)
        if not earlier:
            self.log_text(json.dumps(machine, indent=2), "environment.json")
            self.log_tags({"git_commit": code.commit, "git_dirty": bool(code.diff), "cpu": machine["cpu"]})
        found = [*earlier, starts.start(epoch, step, code, diff, machine, changes)]
        self.log_text(json.dumps(found, indent=2), STARTS)
        self.log_tags({CODE: starts.code(found)})
        self._command = notes.shown(found[0].get("command", found[-1]["command"]))
        self.log_note()

    def log_note(self) -> None:
        """Describe the run for MLflow's page: the note of the settings, the command, and the scores so far."""
        self.log_tags({notes.NOTE: notes.of_run(self._settings.note, self._command, self._final)})

    def _log_changes(self, settings: Settings, epoch: int) -> dict[str, tuple[Any, Any]]:
        """Record the settings that differ from the recorded ones, and give them as (before, now)."""
        recorded, now = self._text(CONFIG), _recordable(settings)
        changes = starts.changes(read(recorded), now) if recorded else {}
        if changes:
            self.log_text(yaml.safe_dump(now.model_dump(), sort_keys=False), CONFIG)
            self.log_tags({f"{RESUMED}{key}": value for key, (_, value) in changes.items()})
        if "epochs" in changes and settings.schedule.takes("epochs"):
            before, after = changes["epochs"]
            moved = f"epochs {before}, {after} from epoch {epoch}"
            warn(
                f"epochs={after}: the run was started with {before}, and schedule={settings.schedule.name} depends "
                f"on it: its learning rate is another from epoch {epoch} on"
            )
            self.log_tags({SCHEDULE_MOVED: "; ".join(filter(None, [self._tags.get(SCHEDULE_MOVED), moved]))})
        return changes

    def log_dataset(self, dataset: Dataset) -> None:
        """Name, classes, shape and fingerprints of the data: with the settings, all that its model is built from."""
        from mlflow.data.numpy_dataset import from_numpy

        described = from_numpy(
            np.broadcast_to(np.uint8(0), dataset.train.images.shape),  # it is described, not read
            name=unescaped(dataset.name),
            digest=dataset.fingerprint[:36],
            source=CodeDatasetSource({"data.name": dataset.name}),
        )
        entity = mlflow.entities.Dataset(**described.to_dict())
        inputs = [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])]
        self._try(lambda client: client.log_inputs(self._id, inputs))
        self.log_tags({FINGERPRINT: dataset.fingerprint, TEST_FINGERPRINT: dataset.test_fingerprint})
        self.log_text(json.dumps(dataset.description, indent=2), DATASET)

    def log_look(self, fingerprint: str) -> None:
        """Count an evaluation on the test images of this fingerprint."""
        # Earlier versions did not count that of the training itself.
        is_own = self._tags.get(TEST_FINGERPRINT) == fingerprint
        before = is_own and any(name.startswith("test/") for name in self._final)
        tag = looks_at(fingerprint)
        self._tags = {**self._tags, tag: str(int(self._tags.get(tag, before)) + 1)}
        self.log_tags({tag: self._tags[tag]})

    def log_evaluation(self, evaluation: Evaluation, prefix: str) -> None:
        """Metrics under `prefix/`, and tables as artifacts."""
        self.log_metrics({f"{prefix}/{name}": value for name, value in evaluation.metrics.items()})
        for name, table in evaluation.tables.items():
            self.log_table(table, name)

    def log_figures(self, figures: Mapping[str, Callable[[], Any]], shows: str) -> None:
        """Draw each figure and record it under its name, where that can be: see `optional`.

        Its small print says which run and which images it `shows`.
        """
        for name, draw in figures.items():
            with self.optional(f"picture {name}"):
                self.log_figure(draw(), name, shows)

    @contextmanager
    def optional(self, name: str) -> Iterator[None]:
        """Inside the `with`, a failure is a warning and a tag of the run, which continues: `name` is not recorded."""
        try:
            yield
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            warn(f"{name} not recorded: {reason}")
            self.log_tags({f"not_recorded.{name}": reason})

    def log_warning(self, line: str) -> None:
        """Print a warning about the run, and record it in the tag `warnings`, a line each."""
        warn(line)
        self._warnings.append(line)
        self.log_tags({"warnings": "\n".join(self._warnings)})

    def log_table(self, table: Any, name: str) -> None:
        """A text, a list of rows for a `.csv`, or what JSON can hold for a `.json`."""
        self.log_text(_as_text(name, table), f"tables/{name}")

    def log_figure(self, figure: Any, name: str, shows: str = "") -> None:
        from cifar import plots

        figure = plots.finish(figure, " · ".join(filter(None, [f"run {self.id[:8]}", self.name, shows])))
        self._try(lambda client: client.log_figure(self._id, figure, f"pictures/{name}.png"))

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

    def log_model(self, model: keras.Model, example: np.ndarray) -> None:
        """A model of Keras's own layers in MLflow's form, for `mlflow models serve`; `example` is a batch of images."""
        from cifar.nn import layers

        outputs = model.predict(example, verbose=0)
        signature = ModelSignature(
            Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
            Schema([TensorSpec(outputs.dtype, (-1, *outputs.shape[1:]))]),
        )
        versions = environment.describe()

        def send(client: mlflow.MlflowClient) -> None:
            # MLflow tries the model on the example, under a progress bar.
            started = mlflow.start_run(self._id, log_system_metrics=False)
            try:
                with started, silenced(1), layers.unregistered():
                    # Not `mlflow.keras`, whose `save_model` fails on any input example in 3.17.2; the file is the same.
                    mlflow.tensorflow.log_model(
                        model,
                        name="model",
                        signature=signature,
                        input_example=example,
                        pip_requirements=[f"{name}=={versions[name]}" for name in ("tensorflow", "keras", "numpy")],
                    )
            finally:
                client.update_run(self._id, "RUNNING")  # the end of the `with` has ended it

        self._try(send)

    def keep_files(self) -> None:
        """Copy the files that the run left in its folder to the artifacts; a tag holds the hash of its weights file."""
        self.log_tags({WEIGHTS_FILE: hashing.file_sha256(self.folder / WEIGHTS)})
        for path in sorted(path for path in self.folder.iterdir() if _is_to_keep(path)):
            self._keep_file(path)
        if (events := self.folder / EVENT_FILES).is_dir():
            self._try(lambda client: client.log_artifacts(self._id, str(events), EVENT_FILES))

    def _keep_file(self, path: Path, folder: str | None = None) -> None:
        self._try(lambda client: client.log_artifact(self._id, str(path), folder))

    def finish(self) -> None:
        """End the run as FINISHED, with its scores in its description and in the columns of MLflow's page."""
        self.log_note()
        self._try(lambda client: view.ensure(client, client.get_run(self._id).info.experiment_id, self._final))
        self.end("FINISHED")

    def end(self, status: str, reason: str = "") -> None:
        self._try(lambda client: client.set_terminated(self._id, recorded_status(status)))
        job_report.report(status=status, reason=reason)

    def note_on(self, error: BaseException) -> str:
        """The addition to the message of an error that ends the run: how to resume it, or where its traceback is."""
        if isinstance(error, INTERRUPTIONS):
            shown = addresses.shown(self._uri)
            uri = "" if shown == addresses.LOCAL else f" {shlex.quote(f'tracking.uri={shown}')}"
            return f"{RUN} resume={self.id}{uri} resumes the run" if self.is_described else ""
        return "" if is_expected(error) else f"run {self.id} has the traceback as traceback.txt"

    def claim_itself(self) -> locks.Lock:
        """The lock on this run, which nobody else knows of yet."""
        with store.reported(InputError, f"run {self._id}", self._uri):
            lock = store.claim_run(self._uri, self._id)
        assert lock
        return lock

    def _create(self, client: mlflow.MlflowClient) -> str:
        tags = {unescaped(name): unescaped(str(value)) for name, value in self._settings.tags.items()}
        tags |= {PROCESS: processes.this_process(), notes.NOTE: notes.of_run(self._settings.note, self._command, {})}
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

    def _call(self, call: Callable[[mlflow.MlflowClient], Result]) -> Result:
        """Call with a client of the store, the local one from when the server is away."""
        if addresses.is_local(self._uri):
            return call(mlflow.MlflowClient(self._uri))
        try:
            return call(mlflow.MlflowClient(self._uri))
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
        return cast("Result", self._id) if call == self._create else call(mlflow.MlflowClient(self._uri))


def _recordable(settings: Settings) -> Settings:
    """`settings` with absolute paths of data, and without a password in `tracking.uri`."""
    uri = settings.tracking.uri and addresses.shown(settings.tracking.uri)
    return located(settings).model_copy(update={"tracking": settings.tracking.model_copy(update={"uri": uri})})


def recorded_status(status: str) -> str:
    """MLflow's word for how a run has ended; it has none for a run that was pruned."""
    return "KILLED" if status == "PRUNED" else status


def _is_to_keep(path: Path) -> bool:
    """True for a file, but no mark and no temporary file."""
    return path.is_file() and not path.name.startswith(".")


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

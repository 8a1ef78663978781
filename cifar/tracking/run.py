"""A run while it is being recorded."""

from __future__ import annotations

import json
import math
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import yaml
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.entities import DatasetInput, InputTag, Metric, Param
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.utils import requirements_utils

from cifar.config import extensions
from cifar.config.compose import read
from cifar.config.settings import Settings, TrackingSettings, flatten, identity, located
from cifar.files import hashing
from cifar.interfaces import Dataset, Evaluation
from cifar.runtime import job_report, processes
from cifar.runtime.errors import Interrupted, TrainingError, is_expected, warn
from cifar.runtime.lazy import keras
from cifar.runtime.paths import EVENT_FILES, RUN, WEIGHTS
from cifar.runtime.private_api import without_package_search
from cifar.runtime.quiet import silenced
from cifar.runtime.terminal import unescaped
from cifar.tracking import addresses, environment, notes, starts, view
from cifar.tracking.names import CONFIG, DATASET, DESCRIBED, FAILURE, PROCESS, TEST_FINGERPRINT, WEIGHTS_FILE, looks_at
from cifar.tracking.recorder import Recorder
from cifar.tracking.store import CODE, FINGERPRINT, IDENTITY, RESUMED, SCHEDULE_MOVED, STARTS

INTERRUPTIONS = (KeyboardInterrupt, Interrupted, OSError)
"""Errors after which a run can be resumed."""


class Run(Recorder):
    """A run that is being recorded."""

    def __init__(self, uri: str, settings: TrackingSettings, run_id: str | None = None):
        self.name = settings.name
        self.is_described = False
        self.can_be_extended = False  # true: the last checkpoint stays when the run has finished
        self.last_step = 0
        self._final: dict[str, float] = {}
        self._tags: dict[str, str] = {}
        self._warnings: list[str] = []
        self._params: frozenset[str] = frozenset()
        super().__init__(uri, settings, run_id)
        if run_id:
            self._read()
        self._error = TrainingError

    def _read(self) -> None:
        """Read the record of a run that is resumed."""
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

    def log_settings(self, settings: Settings) -> None:
        """Every setting as a parameter, and all of them as `config.yaml`, as `_recordable` says.

        The tag by which `resume=auto` finds the run comes last: a run that has it can be resumed.
        """
        recordable = _recordable(settings)
        rows = [Param(key, unescaped(str(value))) for key, value in flatten(recordable).items()
                if key not in self._params]  # fmt: skip
        self._try(lambda client: client.log_batch(self._id, params=rows))
        self.log_text(yaml.safe_dump(recordable.model_dump(), sort_keys=False), CONFIG)
        if IDENTITY not in self._tags:
            self.log_tags({IDENTITY: identity(settings)})

    def log_extensions(self) -> None:
        """The files of the extensions that this process has loaded from a folder, in `extensions/`."""
        if loaded := extensions.named():
            for name in loaded.files:
                self.log_file(loaded.folder / name, f"extensions/{Path(name).parent}")

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
        self.can_be_extended = settings.can_be_extended
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
        note = self._settings.note or notes.note_in(self._tags.get(notes.NOTE, ""))
        self.log_tags({notes.NOTE: notes.of_run(note, self._command, self._final)})

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

    def log_warning(self, line: str) -> None:
        """Print a warning about the run, and record it in the tag `warnings`, a line each."""
        warn(line)
        self._warnings.append(line)
        self.log_tags({"warnings": "\n".join(self._warnings)})

    def log_figure(self, figure: Any, name: str, shows: str = "") -> None:
        from cifar import plots

        figure = plots.finish(figure, " · ".join(filter(None, [f"run {self.id[:8]}", self.name, shows])))
        self._try(lambda client: client.log_figure(self._id, figure, f"pictures/{name}.png"))

    def log_model(self, model: keras.Model, example: np.ndarray) -> None:
        """A model of Keras's own layers in MLflow's form, for `mlflow models serve`; `example` is a batch of images."""
        from cifar.nn import layers

        (output,) = model.outputs
        signature = ModelSignature(
            Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
            Schema([TensorSpec(np.dtype(output.dtype), tuple(-1 if size is None else size for size in output.shape))]),
        )
        versions = environment.describe()

        def send(client: mlflow.MlflowClient) -> None:
            # MLflow tries the model on the example, under a progress bar.
            started = mlflow.start_run(self._id, log_system_metrics=False)
            try:
                with started, silenced(1), layers.unregistered(), without_package_search(requirements_utils):
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
            self.log_file(path)
        if (events := self.folder / EVENT_FILES).is_dir():
            self._try(lambda client: client.log_artifacts(self._id, str(events), EVENT_FILES))

    def finish(self) -> None:
        """End the run as FINISHED, with its scores in its description and in the columns of MLflow's page."""
        self.log_note()
        with self.optional("columns of the page"):
            self._try(lambda client: view.ensure(client, client.get_run(self._id).info.experiment_id, self._final))
        self.end("FINISHED")

    def note_on(self, error: BaseException) -> str:
        """The addition to the message of an error that ends the run: how to resume it, or where its traceback is."""
        if isinstance(error, INTERRUPTIONS):
            shown = addresses.shown(self._uri)
            uri = "" if shown == addresses.LOCAL else f" {shlex.quote(f'tracking.uri={shown}')}"
            return f"{RUN} resume={self.id}{uri} resumes the run" if self.is_described else ""
        return "" if is_expected(error) else f"run {self.id} has the traceback as traceback.txt"


def _recordable(settings: Settings) -> Settings:
    """`settings` with absolute paths of data, and without a password in `tracking.uri`."""
    uri = settings.tracking.uri and addresses.shown(settings.tracking.uri)
    return located(settings).model_copy(update={"tracking": settings.tracking.model_copy(update={"uri": uri})})


def _is_to_keep(path: Path) -> bool:
    """True for a file, but no mark and no temporary file."""
    return path.is_file() and not path.name.startswith(".")

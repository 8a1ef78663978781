"""Runs as MLflow records them; the only module that knows MLflow."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import logging
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import yaml
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from sqlalchemy.exc import SQLAlchemyError

from cifar import environment
from cifar.callbacks import WEIGHTS
from cifar.config import Settings, TrackingSettings, flatten, identity, read, resumed
from cifar.contracts import Dataset, Evaluation
from cifar.errors import InputError, Interrupted
from cifar.lazy import keras

CONFIG = "config.yaml"
PROCESS = "process"
DPI = 120


@dataclass(frozen=True)
class Child:
    """A job of a sweep, as it is recorded."""

    id: str
    status: str
    metrics: Mapping[str, float]


class Run:
    """A run that is being recorded. `folder` is its place on this machine for what is not an artifact yet."""

    def __init__(self, run_id: str, folder: Path, is_resumed: bool = False):
        self.id = run_id
        self.folder = folder
        self.is_resumed = is_resumed
        self._client = mlflow.MlflowClient()
        history = self._client.get_metric_history(run_id, "train/loss") if is_resumed else []
        self.last_step = max((metric.step for metric in history), default=0)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record `metrics` at `step`, an epoch counted from 1, in one call."""
        now = int(time.time() * 1000)
        self.last_step = max(self.last_step, step)
        self._client.log_batch(self.id, [Metric(name, float(value), now, step) for name, value in metrics.items()])

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        self._client.log_batch(self.id, tags=[RunTag(name, str(value)) for name, value in tags.items()])

    def log_settings(self, settings: Settings) -> None:
        """Every setting as a parameter, and all of them as `config.yaml`."""
        parameters = [Param(key, str(value)) for key, value in flatten(settings).items()]
        self._client.log_batch(self.id, params=parameters)
        self.log_tags({"settings_sha256": identity(settings)})
        self.log_text(yaml.safe_dump(settings.model_dump(), sort_keys=False), CONFIG)

    def log_environment(self) -> None:
        """Versions and machine, the commit, and the diff of a tree that differs from it."""
        machine, diff = environment.describe(), environment.git_diff()
        self.log_text(json.dumps(machine, indent=2), "environment.json")
        self.log_tags({"git_commit": environment.git_commit(), "git_dirty": bool(diff), "cpu": machine["cpu"]})
        if diff:
            self.log_text(diff, "git.diff")

    def log_dataset(self, dataset: Dataset) -> None:
        """Name, shape and fingerprint of the data."""
        source = mlflow.data.from_numpy(
            dataset.train.images,
            name=dataset.name,
            digest=dataset.fingerprint[:36],
            source=CodeDatasetSource({"data.name": dataset.name}),
        )
        mlflow.log_input(source, context="training")
        self.log_tags({"dataset_fingerprint": dataset.fingerprint})

    def log_evaluation(self, evaluation: Evaluation, prefix: str) -> None:
        """Metrics under `prefix/`, tables and pictures as artifacts in folders of their own."""
        self.log_metrics({f"{prefix}/{name}": value for name, value in evaluation.metrics.items()})
        for name, table in evaluation.tables.items():
            self.log_table(table, name)
        for name, figure in evaluation.figures.items():
            self.log_figure(figure, name)

    def log_table(self, table: Any, name: str) -> None:
        """A text, a list of rows for a `.csv`, or what JSON can hold for a `.json`."""
        self.log_text(_as_text(name, table), f"tables/{name}")

    def log_figure(self, figure: Any, name: str) -> None:
        mlflow.log_figure(figure, f"pictures/{name}.png", save_kwargs={"dpi": DPI})

    def log_text(self, text: str, name: str) -> None:
        mlflow.log_text(text, name)

    def log_model(self, model: keras.Model, example: np.ndarray) -> None:
        """The model in MLflow's own form, so that `mlflow models serve` takes it; `example` is a batch of images."""
        outputs = model.predict(example, verbose=0)
        signature = ModelSignature(
            Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
            Schema([TensorSpec(outputs.dtype, (-1, *outputs.shape[1:]))]),
        )
        versions = environment.describe()
        keras.config.disable_interactive_logging()
        # Not `mlflow.keras`, whose `save_model` fails on any input example in 3.17.2; this one writes the same file.
        mlflow.tensorflow.log_model(
            model,
            name="model",
            signature=signature,
            input_example=example,
            pip_requirements=[f"{name}=={versions[name]}" for name in ("tensorflow", "keras", "numpy")],
        )

    def children(self) -> dict[str, Child]:
        """The runs whose parent this is, by name; the newest where several share one."""
        experiment = self._client.get_run(self.id).info.experiment_id
        found = self._client.search_runs(
            [experiment], f"tags.mlflow.parentRunId = '{self.id}'", order_by=["attributes.start_time ASC"]
        )
        return {run.info.run_name: Child(run.info.run_id, run.info.status, run.data.metrics) for run in found}

    def keep_files(self) -> None:
        """Move what the run left in its folder to the artifacts."""
        for path in sorted(self.folder.iterdir()):
            mlflow.log_artifact(str(path))


@contextmanager
def start(settings: TrackingSettings, run_id: str | None = None) -> Iterator[Run]:
    """A new run, or the one that `run_id` names; RUNNING inside the `with`, and FINISHED, KILLED or FAILED afterwards.

    The store is the one that `connect` has opened.
    """
    mlruns = _mlruns(settings.uri)
    experiment = _experiment(settings.experiment, mlruns, is_local=_database(settings.uri) is not None)
    _end_stale(experiment)
    tags = {PROCESS: environment.this_process()} | ({"mlflow.parentRunId": settings.parent} if settings.parent else {})
    known = {"run_id": run_id} if run_id else {"experiment_id": experiment, "run_name": settings.name}
    with mlflow.start_run(**known, tags=tags) as active:
        folder = mlruns / active.info.run_id / "work"
        run = Run(active.info.run_id, folder, is_resumed=run_id is not None)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            yield run
        except BaseException as error:
            killed = isinstance(error, KeyboardInterrupt | Interrupted)
            run.log_tags({"failure": f"{type(error).__name__}: {error}"})
            if not killed:
                run.log_text("".join(traceback.format_exception(error)), "traceback.txt")
            mlflow.end_run(RunStatus.to_string(RunStatus.KILLED if killed else RunStatus.FAILED))
            raise
        shutil.rmtree(folder)


def find_resumable(settings: Settings, overrides: Sequence[str]) -> tuple[Settings, str | None]:
    """The run that `settings.resume` means and the settings with which it goes on.

    `auto` is the newest unfinished run with the same settings, and no run where there is none. Raises `InputError` for
    a run that is unknown, finished or still running, and for `overrides` that would make it another run.
    """
    connect(settings.tracking.uri)
    client = mlflow.MlflowClient()
    if settings.resume == "auto":
        experiment = client.get_experiment_by_name(settings.tracking.experiment)
        if experiment is None:
            return settings, None
        _end_stale(experiment.experiment_id)
        found = client.search_runs(
            [experiment.experiment_id],
            f"tags.settings_sha256 = '{identity(settings)}' and attributes.status IN ('KILLED', 'FAILED')",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        return settings, found[0].info.run_id if found else None
    run, config = _stored(settings.resume, CONFIG)
    _end_stale(run.info.experiment_id)
    status = client.get_run(settings.resume).info.status
    if status in ("FINISHED", "RUNNING"):
        raise InputError(f"resume={settings.resume}: the run is {status}")
    return resumed(read(config.read_text()), settings, overrides), settings.resume


def connect(uri: str | None) -> None:
    """Open the store of runs, made where it is not there yet; raises `InputError` where that cannot be.

    Several processes may be the first at once, and MLflow makes a broken store then: it is opened under a file lock.
    """
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    address = uri or f"sqlite:///{_database(uri)}"
    try:
        _mlruns(uri).mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(address)
        with _lock(_mlruns(uri)):
            mlflow.MlflowClient().search_experiments(max_results=1)
    except (OSError, MlflowException, SQLAlchemyError) as error:
        raise InputError(f"tracking.uri={address}: cannot be opened: {_first_line(error)}") from None


def stored_run(uri: str | None, run_id: str) -> tuple[Settings, Path, str]:
    """Settings, path of the weights, and data fingerprint of a recorded run; raises `InputError`."""
    connect(uri)
    run, config, weights = _stored(run_id, CONFIG, WEIGHTS)
    return read(config.read_text()), weights, run.data.tags.get("dataset_fingerprint", "")


def _stored(run_id: str, *names: str) -> tuple:
    """A recorded run, and the paths of its artifacts of those `names`; raises `InputError` where one is missing."""
    try:
        run = mlflow.MlflowClient().get_run(run_id)
        fetch = mlflow.artifacts.download_artifacts
        return run, *(Path(fetch(run_id=run_id, artifact_path=name)) for name in names)
    except (MlflowException, OSError) as error:
        store = mlflow.get_tracking_uri()
        raise InputError(f"run {run_id}: not in {store}, or not far enough: {_first_line(error)}") from None


def _end_stale(experiment: str) -> None:
    """Mark as KILLED the runs of this machine whose process is gone."""
    client = mlflow.MlflowClient()
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        if environment.is_gone(run.data.tags.get(PROCESS, "")):
            client.set_tag(run.info.run_id, "failure", "its process is gone")
            client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))


def serve_ui(uri: str | None, port: int) -> int:
    """Run MLflow's server on the store until it is stopped; its exit code."""
    connect(uri)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", mlflow.get_tracking_uri()]
    return subprocess.call([*command, "--port", str(port)], cwd=_mlruns(uri).parent)


def _experiment(name: str, mlruns: Path, is_local: bool) -> str:
    client = mlflow.MlflowClient()
    with _lock(mlruns):
        experiment = client.get_experiment_by_name(name)
        if experiment:
            return experiment.experiment_id
        # The kind decides what MLflow's page shows first: runs with their charts, not traces of language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return client.create_experiment(name, mlruns.as_uri() if is_local else None, tags)


def _database(uri: str | None) -> Path | None:
    """The file of a SQLite store, `None` for any other."""
    if uri is None:
        return environment.ROOT / "mlflow.db"
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def _mlruns(uri: str | None) -> Path:
    """The folder for artifacts and for what is not an artifact yet: beside the store, or beside `run.py`."""
    return (_database(uri) or environment.ROOT / "mlflow.db").parent / "mlruns"


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _as_text(name: str, table: Any) -> str:
    if name.endswith(".json"):
        return json.dumps(table, indent=2)
    if name.endswith(".csv"):
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
        return buffer.getvalue()
    return table

"""Recorded runs as they are read: found by id, parent, experiment or filter, with their histories and predictions.

The store is the one that `connect` has opened. What it does not have, or does not answer, raises `InputError`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
from mlflow.entities import LifecycleStage, Run, ViewType

from cifar.config import renamed
from cifar.config.compose import read
from cifar.config.settings import Settings
from cifar.files.safe_io import read_file, refusing
from cifar.runtime import processes
from cifar.runtime.errors import InputError, did_you_mean
from cifar.runtime.paths import COMMAND
from cifar.tracking import registry, store
from cifar.tracking.names import CONFIG, EVALUATED, PROCESS, SWEEP, TEST_FINGERPRINT, looks_at
from cifar.tracking.store import RESUMED

PARENT = "mlflow.parentRunId"
PREDICTIONS = "tables/predictions.csv"
SHORTEST = 4
"""Characters of a run's id that are needed to find it."""


@dataclass(frozen=True)
class StoredRun:
    """A recorded run; `seconds` is the time from its start to its end, or until now.

    `params` are its settings, the latest of those that a resume has changed.
    """

    id: str
    name: str
    status: str
    experiment: str
    parent: str | None
    start: datetime
    seconds: float
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def test_images(self) -> str:
        """The identity of the test images."""
        return self.tags.get(TEST_FINGERPRINT) or self.tags.get("dataset_fingerprint", "")

    @property
    def is_evaluated(self) -> bool:
        """True if the run has metrics of the test images."""
        return any(name.startswith("test/") for name in self.metrics)

    def has(self, names: Iterable[str]) -> bool:
        """True where all `names` are metrics, settings or groups of settings of the run."""
        known = {*self.metrics, *self.params, *(key.partition(".")[0] for key in self.params)}
        return known.issuperset(names)


class Looks(NamedTuple):
    """How often test images have been looked at: the number of evaluations on them, and of the runs evaluated."""

    evaluations: int
    runs: int


class Predictions(NamedTuple):
    """A run's answers on its test images, (n,) each: class names, and the probability that it gives the label."""

    label: np.ndarray
    predicted: np.ndarray
    label_probability: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """(n,) bool."""
        is_right: np.ndarray = self.label == self.predicted
        return is_right


def find_runs(run_ids: Sequence[str]) -> list[StoredRun]:
    """The runs of these ids, or of ids that begin so."""
    names = _experiments()
    return [_stored(find(run_id), names) for run_id in run_ids]


def search_runs(experiment: str | None = None, filter_string: str = "") -> list[StoredRun]:
    """The runs of one experiment, or of all, that MLflow's `filter_string` lets through; newest first."""
    names = _experiments()
    if experiment is not None and experiment not in names.values():
        raise InputError(f"experiment {experiment}: unknown; {did_you_mean(experiment, names.values())}")
    if old_names := renamed.in_filter(filter_string):
        known = [_stored(run, names) for run in _search("", experiment)]
        for old, new in old_names:
            if known and not any(run.has([old]) for run in known):
                raise InputError(f"--filter: {old} is called {new} now")
    found = [_stored(run, names) for run in _search(filter_string, experiment)]
    old_filter, new_names = renamed.old_filter(filter_string)
    if new_names:
        earlier = [_stored(run, names) for run in _search(old_filter, experiment)]
        listed = {run.id for run in found}
        found += [run for run in earlier if run.id not in listed and run.has(new_names)]
        found.sort(key=lambda run: run.start, reverse=True)
    return found


def search_deleted() -> list[StoredRun]:
    """The runs that are deleted in MLflow, and can still be restored."""
    names = _experiments()
    return [_stored(run, names) for run in _search("", view=ViewType.DELETED_ONLY)]


def children(run: StoredRun) -> list[StoredRun]:
    """The runs of a sweep, the first one first."""
    return search_runs(filter_string=f"tags.{PARENT} = '{run.id}'")[::-1]


def history(run: StoredRun, metrics: Sequence[str]) -> dict[str, list[float]]:
    """The values of each of `metrics` at epochs 1, 2, …, NaN where one is missing."""
    client = mlflow.MlflowClient()
    with _told(f"run {run.id}"):
        points = {name: metric_history(client, run.id, run.params, name) for name in metrics if name in run.metrics}
    return {name: [values.get(step, math.nan) for step in range(1, max(values) + 1)] for name, values in points.items()}


def metric_history(
    client: mlflow.MlflowClient, run_id: str, params: Mapping[str, str], metric: str
) -> dict[int, float]:
    """The values of a metric by epoch; `params` are those of the run, which decide how old records call it."""
    names = (renamed.old_metric(metric, params), metric)
    return {point.step: point.value for name in names if name for point in client.get_metric_history(run_id, name)}


def settings(run: StoredRun) -> Settings:
    """What a run was made of."""
    with _told(f"run {run.id}"):
        return read(Path(mlflow.artifacts.download_artifacts(run_id=run.id, artifact_path=CONFIG)).read_text())


def files(run: StoredRun) -> Path:
    """The folder of a run's artifacts; a copy where the store is elsewhere."""
    with _told(f"run {run.id}, its files"):
        return Path(mlflow.artifacts.download_artifacts(run_id=run.id, artifact_path=""))


def artifact_sizes(run: StoredRun) -> dict[str, int]:
    """The artifacts of a run: their sizes in bytes by path."""
    client, found, folders = mlflow.MlflowClient(), dict[str, int](), [""]
    with _told(f"run {run.id}"):
        while folders:
            for entry in client.list_artifacts(run.id, folders.pop()):
                if entry.is_dir:
                    folders.append(entry.path)
                else:
                    found[entry.path] = entry.file_size or 0
    return found


def predictions(run: StoredRun) -> Predictions:
    """The table of a run's answers on its test images; raises `InputError` for a run that did not get there."""
    with _told(f"run {run.id} is {run.status}, its predictions on the test images"):
        path = Path(mlflow.artifacts.download_artifacts(run_id=run.id, artifact_path=PREDICTIONS))
    with refusing(path, "a table with the columns label, predicted and label_probability"):
        rows = list(csv.DictReader(io.StringIO(read_file(path).decode())))
        if not rows:
            raise ValueError("it has no rows")
        return Predictions(
            np.array([row["label"] for row in rows], str),
            np.array([row["predicted"] for row in rows], str),
            np.array([row["label_probability"] for row in rows], float),
        )


def other_data(run: StoredRun) -> dict[str, dict[str, Any]]:
    """The evaluations of a run on other data: what identifies their images, by the prefix of their metrics."""
    return {key.removeprefix(EVALUATED): json.loads(value)
            for key, value in run.tags.items() if key.startswith(EVALUATED)}  # fmt: skip


def looks(fingerprint: str) -> Looks:
    """The evaluations of all runs of the store on the test images of this fingerprint."""
    tag, names = looks_at(fingerprint), _experiments()
    counted = [_stored(run, names) for run in _search(f"tags.`{tag}` != ''")]
    trained = [_stored(run, names) for run in _search(f"tags.{TEST_FINGERPRINT} = '{fingerprint}'")]
    earlier = [run for run in trained if tag not in run.tags and run.is_evaluated]  # before they were counted
    return Looks(sum(int(run.tags[tag]) for run in counted) + len(earlier), len(counted) + len(earlier))


def find(run_id: str) -> Run:
    """The run of this id, the only one whose id begins so, or the one behind `models:/NAME@ALIAS`.

    Raises `InputError`, also for one that is deleted in MLflow.
    """
    if registry.is_address(run_id):
        run_id = registry.run_id(run_id)
    if len(run_id) < SHORTEST:
        raise InputError(f"run {run_id}: should be at least the first {SHORTEST} characters of a run's id")
    found = []
    if re.fullmatch("[0-9a-f]{1,31}", run_id):
        begun = f"attributes.run_id LIKE '{run_id}%'"
        found = _search(begun) or _search(begun, view=ViewType.DELETED_ONLY)
    if len(found) > 1:
        raise InputError(f"run {run_id}: {len(found)} runs begin so: {', '.join(run.info.run_id for run in found[:5])}")
    with _told(f"run {run_id}"):
        run = found[0] if found else mlflow.MlflowClient().get_run(run_id)
    if run.info.lifecycle_stage == LifecycleStage.DELETED:
        raise InputError(f"run {run_id}: was deleted in MLflow; restore it there, in the runs with the state Deleted")
    return run


def find_training(run_id: str) -> Run:
    """The same of a run that is no sweep; raises `InputError` for a sweep."""
    run = find(run_id)
    if SWEEP in run.data.tags:
        raise InputError(
            f"run {run_id} is a sweep, and has no model of its own: `{COMMAND} compare --sweep {run_id}` lists its jobs"
        )
    return run


def _stored(run: Run, experiments: Mapping[str, str]) -> StoredRun:
    tags, end = run.data.tags, run.info.end_time
    # A run that was killed is marked as such by the next that starts; until then, its process decides.
    is_gone = run.info.status == "RUNNING" and processes.is_gone(tags.get(PROCESS, ""))
    start = datetime.fromtimestamp(run.info.start_time / 1000)
    params = run.data.params | {key.removeprefix(RESUMED): tags[key] for key in tags if key.startswith(RESUMED)}
    return StoredRun(
        id=run.info.run_id,
        name=run.info.run_name or "",
        status="KILLED" if is_gone else run.info.status,
        experiment=experiments.get(run.info.experiment_id, ""),
        parent=tags.get(PARENT),
        start=start,
        seconds=end / 1000 - start.timestamp() if end else (datetime.now() - start).total_seconds(),
        params=renamed.of_params(params),
        metrics=renamed.metrics(run.data.metrics, params),
        tags=tags,
    )


def _search(filter_string: str, experiment: str | None = None, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    names = [experiment] if experiment is not None else None
    with _told(f"filter {filter_string}"):
        return mlflow.search_runs(
            experiment_names=names,
            search_all_experiments=names is None,
            filter_string=filter_string,
            run_view_type=view,
            output_format="list",
        )


def _experiments() -> dict[str, str]:
    """The names of all experiments by their ids."""
    with _told("experiments"):
        return {found.experiment_id: found.name for found in mlflow.MlflowClient().search_experiments()}


def _told(what: str) -> AbstractContextManager[None]:
    return store.reported(InputError, what, mlflow.get_tracking_uri())

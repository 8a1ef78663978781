"""Runs that are recorded already: found, read back, sent to their server, shown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Param, Run, RunStatus, RunTag

from cifar.config.compose import read
from cifar.config.settings import Settings
from cifar.files.hashing import file_sha256
from cifar.files.safe_io import read_file, refusing
from cifar.interfaces import Dataset
from cifar.runtime import processes
from cifar.runtime.errors import InputError
from cifar.runtime.paths import WEIGHTS
from cifar.tracking import addresses, queries, registry, store
from cifar.tracking.names import (
    CONFIG,
    DATASET,
    EXAMPLE,
    FAILURE,
    PROCESS,
    SWEEP,
    SYNC_RUN,
    SYNC_URI,
    WEIGHTS_FILE,
)
from cifar.tracking.starts import Start, of_earlier_version
from cifar.tracking.store import FINGERPRINT, STARTS

COUNTS = ("images", "invalid")
"""What the description of a data set has besides that of its images."""


def stored_run(uri: str | None, run_id: str) -> tuple[Settings, Path, str]:
    """Settings, path of the weights, and data fingerprint of a recorded run; raises `InputError`."""
    store.connect_existing(uri)
    run, config, weights = stored(run_id, CONFIG, WEIGHTS)
    return read(config.read_text()), weights, run.data.tags.get(FINGERPRINT, "")


def finished_run(uri: str | None, run_id: str) -> tuple[queries.StoredRun, Settings, Path]:
    """A finished run, its settings, and the path of its weights, which are those that its training ended with.

    Raises `InputError`.
    """
    store.connect_existing(uri)
    (run,) = queries.find_runs([queries.find_training(run_id).info.run_id])
    if run.status != "FINISHED":
        raise InputError(f"run {run_id}: the run is {run.status}, not finished")
    _, config = stored(run.id, CONFIG)
    return run, read(config.read_text()), weights_of(run.id)


def register(uri: str | None, run_id: str, name: str, alias: str | None = None) -> tuple[queries.StoredRun, str]:
    """Register a finished run in MLflow's model registry; return it and its address, `models:/NAME/VERSION`.

    Raises `InputError`.
    """
    run, _, _ = finished_run(uri, run_id)
    return run, registry.add_version(name, run.id, alias)


def starts_of(run: queries.StoredRun) -> list[Start]:
    """What a run has recorded of its starts; one without an environment if an earlier version recorded it."""
    try:
        _, path = stored(run.id, STARTS)
    except InputError:
        return of_earlier_version(run.tags)
    with refusing(path, "the starts of a run"):
        found: list[Start] = json.loads(read_file(path))
        return found


def placeholder_dataset(run: queries.StoredRun) -> Dataset:
    """What stands for the data of a run, to build its model where they are not at hand; raises `InputError`."""
    _, path = stored(run.id, DATASET)
    with refusing(path, "name, class_names and image_shape of a data set"):
        described = json.loads(read_file(path))
        return Dataset.placeholder(**{key: value for key, value in described.items() if key not in COUNTS})


def examples(run: queries.StoredRun) -> np.ndarray:
    """The images (n, height, width, channels) that a run recorded with its model, uint8; none if it did not.

    Raises `InputError` where they are something else.
    """
    try:
        _, path = stored(run.id, EXAMPLE)
    except InputError:
        return np.zeros((0, 1, 1, 1), np.uint8)
    with refusing(path, "a batch of images"):
        images = np.array(json.loads(read_file(path)))
        if images.ndim != 4 or images.dtype != int or not 0 <= images.min() <= images.max() <= 255:
            raise ValueError(f"it has {images.dtype} of shape {images.shape}")
        return images.astype(np.uint8)


def with_model_of_run(settings: Settings) -> Settings:
    """`settings` of `model=from_run` with what that run's model is made of; all others as they are.

    The run is looked up, so that its beginning is enough of its id; raises `InputError` where it is not finished.
    """
    if settings.model.name != "from_run" or settings.model.model:
        return settings
    store.connect_existing(settings.tracking.uri)
    run, config = stored(settings.model.run, CONFIG)
    if run.info.status != "FINISHED":
        raise InputError(f"model.run={settings.model.run}: the run is {run.info.status}, not finished")
    made_of = read(config.read_text()).model.model_dump()
    classifier = made_of.pop("classifier", None)
    if made_of["name"] == "from_run":
        made_of = made_of["model"]
    if "freeze" in made_of:
        made_of["freeze"] = "none"
    classifier = settings.model.model_dump()["classifier"] or classifier
    found = settings.model.changed(run=run.info.run_id, model=made_of, classifier=classifier)
    return settings.model_copy(update={"model": found})


def weights_of(run_id: str) -> Path:
    """The weights of a finished run, which are those that its training ended with; raises `InputError`."""
    run, weights = stored(run_id, WEIGHTS)
    found, recorded = file_sha256(weights), run.data.tags.get(WEIGHTS_FILE)
    if found != recorded:
        raise InputError(f"run {run_id}: the SHA-256 of its {WEIGHTS} is {found}, recorded is {recorded or 'none'}")
    return Path(weights)


def end_stale(client: mlflow.MlflowClient, experiment: str) -> None:
    """Mark as KILLED the runs of this machine whose process is gone."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        if processes.is_gone(run.data.tags.get(PROCESS, "")):
            client.set_tag(run.info.run_id, FAILURE, "its process is gone")
            client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))


def newest_sweep(experiments: Iterable[str], key: str) -> str | None:
    """The run id of the newest sweep in these `experiments` that has this `key`."""
    client = mlflow.MlflowClient()
    known = [found.experiment_id for name in experiments if (found := client.get_experiment_by_name(name))]
    newest = client.search_runs(known, f"tags.{SWEEP} = '{key}'", max_results=1) if known else []
    return next((run.info.run_id for run in newest), None)


def synchronise() -> Iterator[str]:
    """Send the ended runs that were recorded here while their server was away; yields a line for each.

    Raises `InputError` where a server is still away; what was sent before stays sent.
    """
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "60"  # nothing waits for this, unlike for a run's own records
    store.connect_existing(addresses.LOCAL)
    client = mlflow.MlflowClient()
    experiments = {experiment.experiment_id: experiment.name for experiment in client.search_experiments()}
    waiting = client.search_runs(list(experiments), f"tags.{SYNC_URI} != ''", order_by=["attributes.start_time ASC"])
    for run in waiting:
        if run.info.status != "RUNNING":
            uri = run.data.tags[SYNC_URI]
            try:
                sent = _send(client, mlflow.MlflowClient(uri), run, experiments[run.info.experiment_id])
            except store.FAILURES as error:
                raise InputError(f"{addresses.shown(uri)}: cannot be reached: {store.explained(error)}") from None
            client.delete_run(run.info.run_id)
            yield f"run {run.info.run_id} is run {sent} in {uri}"


def _send(local: mlflow.MlflowClient, server: mlflow.MlflowClient, run: Run, experiment: str) -> str:
    """Add to the server's run what `run` has beyond it; the server's run id."""
    target = run.data.tags[SYNC_RUN]
    if not target:
        known = store.experiment_id(run.data.tags[SYNC_URI], experiment)
        target = server.create_run(known, run.info.start_time, run_name=run.info.run_name).info.run_id
        local.set_tag(run.info.run_id, SYNC_RUN, target)  # so that a second try finds what a first one began
    there = server.get_run(target).data
    rows = [
        metric
        for name in run.data.metrics
        for metric in _missing(local.get_metric_history(run.info.run_id, name), server.get_metric_history(target, name))
    ]
    params = [Param(key, value) for key, value in run.data.params.items() if key not in there.params]
    tags = [RunTag(key, value) for key, value in run.data.tags.items() if key not in (SYNC_URI, SYNC_RUN)]
    for first in range(
        0, max(len(rows), len(params), len(tags)), 100
    ):  # the most that MLflow takes at once of any kind
        part = slice(first, first + 100)
        server.log_batch(target, rows[part], params[part], tags[part])
    files = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, tracking_uri=local.tracking_uri)
    server.log_artifacts(target, files)
    server.set_terminated(target, run.info.status, run.info.end_time)
    return target


def _missing(here: Iterable[Any], there: Iterable[Any]) -> list[Any]:
    steps = {metric.step for metric in there}
    return [metric for metric in here if metric.step not in steps]


def stored(run_id: str, *names: str) -> tuple[Any, ...]:
    """A recorded run, and the paths of its artifacts of those `names`; raises `InputError` where one is missing."""
    run = queries.find_training(run_id)
    paths: list[Path] = []
    for name in names:
        try:
            paths.append(Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name)))
        except store.FAILURES as error:
            if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
                raise InputError(f"run {run_id}: it is {run.info.status} and has no {name}") from None
            uri = addresses.shown(mlflow.get_tracking_uri())
            raise InputError(f"run {run_id}: its {name} cannot be had from {uri}: {store.explained(error)}") from None
    return run, *paths

"""Runs that ended early, or are extended: found, locked by the process that resumes them, compared with their data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.entities import Run
from omegaconf import DictConfig, OmegaConf

from cifar.config import overrides
from cifar.config.compose import read
from cifar.config.settings import Settings, TrackingSettings, identity
from cifar.distributed import devices
from cifar.interfaces import Dataset
from cifar.runtime import processes
from cifar.runtime.errors import InputError
from cifar.tracking import addresses, locks, queries, store
from cifar.tracking.names import CONFIG, DATASET, PROCESS, STOP_REASON
from cifar.tracking.runs import end_stale, stored
from cifar.tracking.store import FINGERPRINT, IDENTITY

PATIENCE = 60.0
"""Seconds for which a store is asked for an unfinished run."""


class HeldError(InputError):
    """Another process has, or may have, the lock on a run."""


@dataclass(frozen=True)
class Unfinished:
    """A run to be resumed. No other process can resume it while the `lock` is held.

    Of several processes that train together, only the one that keeps the record has the lock.
    """

    run: Run
    lock: locks.Lock | None

    @property
    def id(self) -> str:
        return str(self.run.info.run_id)

    @property
    def epochs(self) -> int:
        """The number of epochs that the run has recorded as its setting."""
        return _settings(self.id).epochs

    def check_epochs(self, settings: Settings) -> None:
        """Raises `InputError` where `settings` want a number of epochs that the run is beyond."""
        before, trained = _settings(self.id), _epochs(self.id)
        if settings.epochs < min(trained, before.epochs):
            raise InputError(f"epochs={settings.epochs}: the run has trained {trained} epochs already")
        if settings.epochs != before.epochs and trained > before.epochs:
            raise InputError(
                f"epochs={settings.epochs}: the run has trained its {before.epochs} epochs, and is in "
                "those of finetune.epochs"
            )

    def check_data(self, dataset: Dataset) -> None:
        """Raises `InputError` where the `dataset` is not that which the run has recorded, if it came to that."""
        if self.run.data.tags.get(FINGERPRINT, dataset.fingerprint) == dataset.fingerprint:
            return
        _, path = stored(self.id, DATASET)
        changes = "; ".join(_changes(json.loads(path.read_text()), dataset.description))
        raise InputError(f"data: not those of run {self.id}: {changes or 'other images or targets'}")


def find_resumable(composed: DictConfig, given: Sequence[str]) -> tuple[Settings, Unfinished]:
    """The run that `resume` names, and its recorded settings with what the overrides `given` change in them.

    `composed` are the settings that they make with `conf/`. Raises `InputError` for a run that is unknown or still
    running, for one that is finished and cannot be extended, and for overrides that would make it another run.
    """
    store.connect_existing(OmegaConf.select(composed, "tracking.uri"))
    run = queries.find_training(str(composed.resume))
    before, extends = _settings(run.info.run_id), run.info.status == "FINISHED"
    if extends:
        _check_extension(run, before, overrides.changed(before, composed, given))
    is_first = devices.processes(before).process_index == 0
    found = locked(run.info.run_id, extends) if is_first else Unfinished(run, None)
    settings = overrides.changed(_settings(found.id), composed, given)
    found.check_epochs(settings)
    return settings, found


def newest_unfinished(settings: Settings, dataset: Dataset) -> Unfinished | None:
    """The newest run with these settings and data that ended early; `None` where there is none to be resumed."""
    if not store.exists(settings.tracking.uri):
        return None
    uri = mlflow.get_tracking_uri()
    with store.reported(InputError, "resume=auto", uri):
        runs = store.retry(uri, lambda: _unfinished(settings), PATIENCE)
    for run in runs:
        if run.data.tags.get(FINGERPRINT, dataset.fingerprint) == dataset.fingerprint:
            try:
                found = locked(run.info.run_id)
                if settings.minutes is None:  # else the epochs are those that the run has
                    found.check_epochs(settings)
            except HeldError:
                if settings.tracking.parent:  # this job runs, so it is not begun again
                    raise
                continue
            except InputError:
                continue
            return found
    return None


def locked(run_id: str, extends: bool = False) -> Unfinished:
    """The run `run_id`, locked; raises `InputError` where another process trains it.

    Also where it is finished, unless the caller `extends` it.
    """
    uri = mlflow.get_tracking_uri()
    with store.reported(InputError, f"resume={run_id}", uri):
        lock = store.claim_run(uri, run_id)
        # What the store says is read after the lock: a process that had it before has recorded all by now.
        run = mlflow.MlflowClient().get_run(run_id)
    if why := _why_not(run, lock, extends):
        if lock:
            lock.release()
        raise (InputError if lock and lock.is_sure else HeldError)(f"resume={run_id}: {why}")
    assert lock
    return Unfinished(run, lock)


def _why_not(run: Run, lock: locks.Lock | None, extends: bool) -> str:
    """Why a run cannot be resumed by who has its `lock`; empty where it can."""
    process = run.data.tags.get(PROCESS, "")
    is_over = processes.is_gone(process) if processes.is_here(process) else lock and lock.was_left_by(process)
    if run.info.status == "RUNNING" and not is_over:
        return f"the run is running, as process {process}"
    if not lock:
        return "another process has just resumed the run"
    return "the run is finished" if run.info.status == "FINISHED" and not extends else ""


def _check_extension(run: Run, before: Settings, now: Settings) -> None:
    """Raises `InputError` where more epochs would not make of a finished run what they make of a new one."""
    where = f"resume={run.info.run_id}: the run is finished"
    if now.epochs <= before.epochs:
        raise InputError(f"{where}; epochs=N with N above {before.epochs} extends it")
    if before.schedule.takes("epochs"):
        raise InputError(
            f"{where}, and cannot be extended: schedule={before.schedule.name} depends on the number of epochs"
        )
    if before.finetune.epochs:
        raise InputError(f"{where}, and cannot be extended: finetune.epochs={before.finetune.epochs} were its last")
    if before.tracking.parent:
        raise InputError(f"{where}, and cannot be extended: the checkpoints of a sweep's jobs are not kept")
    if reason := run.data.tags.get(STOP_REASON):
        raise InputError(f"{where}, and more epochs would change nothing: {reason}")
    folder = addresses.folder(mlflow.get_tracking_uri()) / run.info.run_id / "work" / "state"
    if not (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{where}, and cannot be extended: its last checkpoint is not in {folder}")


def _settings(run_id: str) -> Settings:
    _, path = stored(run_id, CONFIG)
    return read(path.read_text())


def _epochs(run_id: str) -> int:
    """The epochs of a run that are recorded."""
    history = mlflow.MlflowClient().get_metric_history(run_id, "train/loss")
    return max((point.step for point in history), default=0)


def _unfinished(settings: Settings) -> list[Run]:
    """The runs with these settings that ended early, or run on another machine, newest first."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(settings.tracking.experiment)
    if experiment is None:
        return []
    end_stale(client, experiment.experiment_id)
    same = client.search_runs(
        [experiment.experiment_id],
        f"tags.{IDENTITY} = '{identity(settings)}'",
        order_by=["attributes.start_time DESC"],
    )
    return [run for run in same if _is_resumable(run, settings.tracking)]


def _is_resumable(run: Run, tracking: TrackingSettings) -> bool:
    """True if a run may have ended early and, where a job of a sweep is wanted, is that job."""
    is_job = (run.data.tags.get("mlflow.parentRunId"), run.info.run_name) == (tracking.parent, tracking.name)
    return run.info.status != "FINISHED" and (is_job or not tracking.parent)


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What two descriptions of a data set differ in, as phrases."""
    classes, found = before["class_names"], now["class_names"]
    changes = [f"class {name!r} is new" for name in found if name not in classes]
    changes += [f"class {name!r} is gone" for name in classes if name not in found]
    if not changes and classes != found:
        changes.append("the classes are in another order")
    if before["image_shape"] != now["image_shape"]:
        changes.append(f"images are {now['image_shape']}, not {before['image_shape']}")
    for split, count in before.get("images", {}).items():
        if count != now["images"][split]:
            changes.append(f"{now['images'][split]} {split} images, not {count}")
    return changes

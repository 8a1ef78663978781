"""Settings as `run.py` gets them, and runs recorded with or without a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import mlflow
import numpy as np
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig

from cifar import tracking
from cifar.config.compose import resolve
from cifar.interfaces import Evaluation
from cifar.runtime.paths import ROOT
from cifar.training.experiment import Experiment
from helpers.processes import Completed

TINY = (
    "data=digits", "data.limit=100", "model.filters=[4]", "model.classifier.units=[8]", "augmentation=none",
    "batch_size=30", "epochs=1",
)  # fmt: skip
"""Overrides for a run that costs little beside the imports."""


@dataclass(frozen=True)
class Recorded:
    """A run, and the process that recorded it in the store at `uri`."""

    process: Completed
    uri: str
    id: str


def sqlite(folder: Path) -> str:
    """The URI of the store in `folder`."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def composed(*overrides: str) -> DictConfig:
    """`conf/config.yaml` with `overrides`, as `run.py` gets it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return hydra_compose("config", list(overrides))


def record(uri: str, name: str, *overrides: str, right: float = 0.8, parent: str | None = None) -> str:
    """The id of a run on digits that is recorded as one that trained and gets this share of the test images right.

    Without metrics of the test images where the settings say not to evaluate on them.
    """
    stated = resolve(composed("data=digits", f"tracking.uri={uri}", *overrides))
    experiment = Experiment.prepare(stated)
    test, classes = experiment.dataset.test, experiment.dataset.class_names
    tracking.connect(uri)
    with tracking.start(stated.tracking.model_copy(update={"name": name, "parent": parent})) as run:
        run.log_settings(stated)
        run.log_dataset(experiment.dataset)
        for epoch in (1, 2, 3):
            run.log_metrics({"train/loss": 1 / epoch, "val/loss": 2 / epoch, "val/accuracy": right * epoch / 3,
                             "images_per_second": 1000.0 * epoch}, step=epoch)  # fmt: skip
        run.log_metrics({"best/epoch": 3, "best/accuracy": right, "model/parameters": 1234, "model/flops": 2.5e6})
        if not stated.evaluates_test:
            return run.id
        numbers = np.random.default_rng(stated.seed).random(len(test))
        rows = [
            {
                "index": index,
                "label": classes[label],
                "predicted": classes[label if number < right else label - 1],
                "correct": bool(number < right),
                "confidence": 0.9,
                "label_probability": 0.9 if number < right else 0.05,
            }
            for index, (label, number) in enumerate(zip(test.targets["label"], numbers, strict=True))
        ]
        accuracy = float((numbers < right).mean())
        run.log_evaluation(Evaluation({"accuracy": accuracy, "loss": 1 - right}, {"predictions.csv": rows}), "test")
    return run.id


def finished_run(store: Path) -> mlflow.entities.Run:
    """The only run of the experiment `digits` in the store in the folder `store`; it is finished."""
    client = mlflow.MlflowClient(sqlite(store))
    (experiment,) = [found.experiment_id for found in client.search_experiments() if found.name == "digits"]
    (found,) = client.search_runs([experiment], "tags.settings_sha256 != ''")
    assert found.info.status == "FINISHED"
    return found


def metric_history(store: Path) -> dict[str, np.ndarray]:
    """The values of each metric of that run but its speed, by epoch."""
    client, run = mlflow.MlflowClient(sqlite(store)), finished_run(store)
    return {name: np.array([point.value for point in client.get_metric_history(run.info.run_id, name)])
            for name in run.data.metrics if name != "images_per_second"}  # fmt: skip


def weight_arrays(store: Path) -> dict[str, np.ndarray]:
    """The weights of that run, by their path in its file."""
    return arrays_of(store / "mlruns" / finished_run(store).info.run_id)


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    """The weights of the run with this folder, by their path in its file."""
    found = {}
    with h5py.File(folder / "artifacts" / "model.weights.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found

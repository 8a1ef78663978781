"""What MLflow's page shows of an experiment at first: columns of scores and settings, charts of the validation.

The page reads such a view from a tag of the experiment where its address has `viewStateShareKey`; the keys of the view
are those of `ExperimentPageUIState` in MLflow 3.17.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from urllib.parse import urlencode

from mlflow import MlflowClient

KEY = "cifar"
TAG = f"mlflow.sharedViewState.{KEY}"
SECTIONS = {"val": True, "train": True, "test": True, "best": False, "model": False, "Model metrics": False,
            "System metrics": False}  # fmt: skip
"""Sections of charts in their order, and whether they are open: first parts of metrics' names, then MLflow's own."""
PARAMS = ("model.name", "optimizer.lr", "epochs", "batch_size", "seed")
"""Settings that the page has columns of."""


def ensure(client: MlflowClient, experiment_id: str, metrics: Mapping[str, float]) -> None:
    """Give an experiment a view with columns of the main `metrics` of its runs, unless it has one."""
    if TAG not in client.get_experiment(experiment_id).tags:
        client.set_experiment_tag(experiment_id, TAG, json.dumps(state(metrics)))


def state(metrics: Mapping[str, float]) -> dict[str, object]:
    """The view for runs with these `metrics`."""
    columns = [f"metrics.`{name}`" for name in main(metrics)] + [f"params.`{name}`" for name in PARAMS]
    sections = [
        {"uuid": uuid.uuid5(uuid.NAMESPACE_OID, name).hex, "name": name, "display": is_open, "isReordered": False,
         "deleted": False, "isGenerated": True}
        for name, is_open in SECTIONS.items()
    ]  # fmt: skip
    # The page adds a chart for each metric to its section, and keeps the order of reordered sections.
    return {"selectedColumns": columns, "compareRunCharts": [], "compareRunSections": sections,
            "isAccordionReordered": True}  # fmt: skip


def main(metrics: Mapping[str, float]) -> list[str]:
    """The first metrics of test images and best epoch that are no losses, then loss and number of that epoch."""
    first = {
        split: next((name for name in metrics if name.startswith(f"{split}/") and not _is_loss_or_epoch(name)), None)
        for split in ("test", "best")
    }
    if not first["test"] and first["best"]:
        first["test"] = first["best"].replace("best/", "test/")
    return [*filter(None, first.values()), "best/loss", "best/epoch"]


def fragment(experiment_id: str, has_view: bool) -> str:
    """The part of MLflow's address that opens the runs of an experiment, in its view."""
    options = {"workflowType": "machine_learning", **({"viewStateShareKey": KEY} if has_view else {})}
    return f"#/experiments/{experiment_id}/runs?{urlencode(options)}"


def _is_loss_or_epoch(name: str) -> bool:
    return name.endswith(("/loss", "/epoch"))

"""The losses of the first steps of small models, as golden.json has them: numbers change only on purpose.

After a change that is meant to alter them, `python -m pytest tests/training/test_golden.py --rewrite-golden` writes the
new ones; the commit says why they changed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cifar.config.compose import resolve
from cifar.training.experiment import Experiment
from helpers.runs import composed

PATH = Path(__file__).with_name("golden.json")
STEPS = 8
TOLERANCE = 1e-4
"""Relative: about a thousand times the precision of float32, as other processors sum in another order."""

COMMON = (
    "precision=float32",
    "schedule=constant",
    "weight_averaging=none",
    "augmentation=[flip]",
    "batch_size=16",
    "seed=1",
)
SCENES = (
    "data=scenes",
    "data@data.source=digits",
    "data.size=32",
    "data.num_train=32",
    "data.num_val=8",
    "data.num_test=8",
)
TASKS = {
    "classification": ("data=digits", "data.limit=200", "model.filters=[8,8]", "model.classifier.units=[16]"),
    "detection": ("task=detection", *SCENES, "model.filters=[8,16]"),
    "segmentation": ("task=segmentation", *SCENES, "model.filters=[8,16]"),
}
OPTIMIZERS = {
    "sgd": ("optimizer=sgd", "optimizer.lr=0.01"),
    "adam": ("optimizer=adam", "optimizer.lr=0.001"),
}


def losses(task: str, optimizer: str) -> list[float]:
    """The loss of each of the first steps, dropout and augmentation as in any training."""
    experiment = Experiment.prepare(resolve(composed(*COMMON, *TASKS[task], *OPTIMIZERS[optimizer])))
    model = experiment.compiled_model()
    batches = experiment.training_batches(0, 0, STEPS).take(STEPS)
    return [float(model.train_on_batch(*batch, return_dict=True)["loss"]) for batch in batches]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("task", TASKS)
def test_losses(task, optimizer, request):
    name, found = f"{task} {optimizer}", losses(task, optimizer)
    if request.config.getoption("--rewrite-golden"):
        golden = json.loads(PATH.read_text()) if PATH.exists() else {}
        PATH.write_text(json.dumps({**golden, name: found}, indent=2, sort_keys=True) + "\n")
    assert found == pytest.approx(json.loads(PATH.read_text())[name], rel=TOLERANCE)

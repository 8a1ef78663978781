"""docs/metrics.md: it defines every metric that a run reports, with the direction that sorting and sweeps use."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cifar.config.objective import COSTS, lower_is_better
from cifar.interfaces import Split
from cifar.runtime.paths import ROOT
from cifar.tasks.classification import Classification
from cifar.tasks.detection.fcos import FCOSHead
from cifar.tasks.detection.single_object import SingleObjectHead
from cifar.tasks.detection.task import Detection
from cifar.tasks.multilabel import Multilabel
from cifar.tasks.segmentation.task import Segmentation
from cifar.training import calibration
from helpers.boxes import SIZE

NAMES = tuple("abcdefghij")
COUNT = 20


def defined(section: str) -> dict[str, str]:
    """The names of the metrics that the page defines under a heading, each with its direction: ↑, ↓ or nothing."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    (block,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| (`.*?) \| *(.?) *\|", block, re.MULTILINE)
    return {name: better for names, better in rows for name in re.findall(r"`([\w/…]+)`", names)}


def images(targets) -> Split:
    return Split(np.zeros((COUNT, *SIZE, 3), np.uint8), targets)


def classification() -> set[str]:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(len(NAMES)), COUNT).astype(np.float32)
    split = images({"label": np.arange(COUNT) % len(NAMES), "soft_label": shares})
    task = Classification(NAMES)
    return {*task.metric_names, *calibration.evaluate(task, {"probabilities": shares}, split, 2.0).metrics}


def multilabel() -> set[str]:
    truth = np.tile([True, False], (COUNT, len(NAMES) // 2))
    task = Multilabel(NAMES)
    return {
        *task.metric_names,
        *task.evaluate({"probabilities": truth * np.float32(0.9)}, images({"labels": truth})).metrics,
    }


def detection() -> set[str]:
    sides = (10, 50, 100)  # a small, a medium and a large object
    boxes = np.array([[[0, 0, side, side] for side in sides]] * COUNT, np.float32)
    classes = np.zeros((COUNT, len(sides)), np.int64)
    split = images({"boxes": boxes, "classes": classes, "crowd": np.zeros(classes.shape, bool)})
    predictions = {"boxes": boxes[:, :1], "classes": classes[:, :1], "scores": np.ones((COUNT, 1), np.float32)}
    task = Detection(SingleObjectHead(1, None, 8, 1, "ciou", 1.0), ("a",), 0.3)
    return {*FCOSHead.metric_names, *task.metric_names, *task.evaluate(predictions, split).metrics}


def segmentation() -> set[str]:
    mask = np.zeros((COUNT, *SIZE), np.uint8)
    mask[:, 2:5, 2:5] = 1
    task = Segmentation(("background", "a"))
    return {*task.metric_names, *task.evaluate({"mask": mask}, images({"mask": mask})).metrics}


@pytest.mark.parametrize(
    ("section", "reported"),
    [
        ("Classification", classification),
        ("Several labels an image", multilabel),
        ("Detection", detection),
        ("Segmentation", segmentation),
    ],
)
def test_every_metric_is_defined(section, reported):
    assert set(defined(section)) == reported()


@pytest.mark.parametrize(
    "section", ["Classification", "Several labels an image", "Detection", "Segmentation", "Training and model"]
)
def test_direction_is_the_one_by_which_runs_are_sorted(section):
    directions = {name: better for name, better in defined(section).items() if better.strip()}
    assert directions
    assert {name: better == "↓" for name, better in directions.items()} == {
        name: lower_is_better(name) for name in directions
    }


def test_costs_are_defined():
    assert set(COSTS) <= set(defined("Training and model"))

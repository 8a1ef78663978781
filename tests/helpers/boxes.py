"""Random objects with their boxes, and a task that detects them."""

from __future__ import annotations

import functools

import numpy as np
from omegaconf import OmegaConf

from cifar.config.registry import TASKS
from cifar.interfaces import Dataset, Split
from cifar.tasks.detection.task import Detection
from helpers.runs import composed

NAMES = ("cat", "dog", "owl")
SIZE = (48, 64)


@functools.cache
def task_settings() -> dict:
    return OmegaConf.to_container(composed("task=detection").task)


def dataset(split: Split) -> Dataset:
    return Dataset("given", split, split, split, NAMES)


def random_boxes(rng, *shape, least=4.0) -> np.ndarray:
    """float32 (*shape, 4): boxes within the image whose sides have at least so many pixels."""
    height, width = SIZE
    first = rng.uniform(0, [width - least, height - least], (*shape, 2))
    last = first + rng.uniform(least, np.maximum([width, height] - first, least + 1e-6))
    return np.concatenate([first, np.minimum(last, [width, height])], axis=-1).astype("float32")


def random_split(rng, count=3, objects=4, crowd=0.0) -> Split:
    classes = rng.integers(-1, len(NAMES), (count, objects))
    boxes_ = random_boxes(rng, count, objects) * (classes >= 0)[..., None]
    targets = {
        "boxes": boxes_.astype("float32"),
        "classes": classes,
        "crowd": (rng.random((count, objects)) < crowd) & (classes >= 0),
    }
    return Split(rng.integers(0, 256, (count, *SIZE, 3), np.uint8), targets)


def built(split: Split, **changes) -> Detection:
    return TASKS.build({**task_settings(), **changes}, dataset=dataset(split))


def iou_by_hand(a, b) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = wide * high
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)

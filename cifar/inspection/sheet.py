"""A picture of examples of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from cifar import plots
from cifar.images.overlay import draw_targets
from cifar.interfaces import Dataset, Split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = 25
WIDTH = 22
"""Characters in a line of the title of an image."""


def figure(dataset: Dataset) -> Figure:
    """Draw examples of the training images, or of the test images if there are no others, with their targets."""
    name, split = ("training", dataset.train) if len(dataset.train) else ("test", dataset.test)
    shown = np.sort(chosen(split, len(dataset.class_names)))
    images, titles = [], []
    for k in shown:
        targets = {target: values[k] for target, values in split.targets.items()}
        images.append(draw_targets(split.images[k], targets, dataset.class_names))
        titles.append("\n".join([*_label(targets, dataset.class_names), plots.short(split.name(k), WIDTH)]))
    title = f"{dataset.name}: {len(shown)} of {len(split):,} {name} images with their targets"
    return plots.image_sheet(np.stack(images), titles, title)


def chosen(split: Split, classes: int) -> np.ndarray:
    """Return positions of up to `EXAMPLES` random images, of each class in turn, then of those without a class."""
    order = np.random.default_rng(0).permutation(len(split))
    present = split.classes_by_image(classes)[order]
    of_class = [order[present[:, k]].tolist() for k in range(classes) if present[:, k].any()]
    turns = [k for positions in zip_longest(*of_class) for k in positions if k is not None]
    return np.array(list(dict.fromkeys([*turns, *order.tolist()]))[:EXAMPLES])


def _label(targets: Mapping[str, np.ndarray], class_names: tuple[str, ...]) -> list[str]:
    """A line with the classes of an image, if it has labels."""
    if "label" in targets:
        names = [class_names[targets["label"]]]
    elif "labels" in targets:
        names = [class_names[k] for k in np.flatnonzero(targets["labels"])]
    else:
        return []
    return [plots.short(", ".join(names), WIDTH) or "(no class)"]

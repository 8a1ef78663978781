"""Checks of a whole `Dataset`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from cifar.data.photos.listing import Example
from cifar.interfaces import VOID, Dataset, Split
from cifar.runtime.errors import InputError, warn
from cifar.runtime.lazy import np
from cifar.runtime.terminal import unescaped


def check_names(parts: Mapping[str, Sequence[Example]], where: object) -> None:
    """Raise `InputError` about `where` if a photo is in two splits."""
    paths = {part: {example.photo.path for example in examples} for part, examples in parts.items()}
    for one, other in itertools.combinations(paths, 2):
        if both := sorted(paths[one] & paths[other]):
            raise InputError(
                f"{where}: {len(both)} images are in both data.{one} and data.{other}, such as {unescaped(both[0])}; "
                f"accepted: each image in one split"
            )


def check_classes(dataset: Dataset, where: object) -> None:
    """Check that each class occurs in the training images.

    Raises `InputError` about `where` if a class has no image, or none of the classes any object or pixel; warns of
    classes without objects or pixels if others have some.
    """
    for target, unit in (("label", "image"), ("labels", "image"), ("classes", "box"), ("mask", "pixel of a mask")):
        if target not in dataset.train.targets:
            continue
        counts = _counts(dataset.train, target, len(dataset.class_names))
        missing = [name for name, count in zip(dataset.class_names, counts, strict=True) if not count]
        if missing and (target == "label" or len(missing) == len(counts)):
            raise InputError(
                f"{where}: no training {unit} of {_listed(missing)}; accepted: at least one{_values(dataset, target)}"
            )
        if missing:
            warn(f"{where}: no training {unit} of {_listed(missing)}")


def _counts(split: Split, target: str, classes: int) -> np.ndarray:
    """Number of images, objects or pixels of each class."""
    if target == "labels":
        return split.targets[target].sum(axis=0)
    values = split.targets[target].ravel()
    if target == "mask":
        return np.bincount(values, minlength=classes + 1)[1 : classes + 1]
    return np.bincount(values[values >= 0], minlength=classes)


def _values(dataset: Dataset, target: str) -> str:
    if target != "mask":
        return ""
    found = [*map(int, np.unique(dataset.train.targets["mask"]))]
    note = f"; the masks have the values {', '.join(map(str, found))}, of which 0 is background and {VOID} is ignored"
    if VOID in found and len(dataset.class_names) == 1:
        note += f"; data.classes={{{dataset.class_names[0]}: '#ffffff'}} reads masks of 0 and {VOID}"
    return note


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if names[5:] else "")

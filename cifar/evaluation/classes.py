"""The images of one data set with the classes of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cifar.interfaces import VOID, Dataset, Split
from cifar.runtime.errors import InputError, did_you_mean

OTHERS = "*"
"""Stands for all classes of the other data that the run does not have and that are not named."""


def matched(other: Dataset, own: Sequence[str], names: Mapping[str, str]) -> Split:
    """Return the test images of `other` with their targets in the classes `own`, where these have the same names.

    `names` maps names of classes of `other` to those in `own`, or to "" for classes whose images are left out. Raises
    `InputError` for a class that has no counterpart, and if no image is left.
    """
    for name in names:
        if name != OTHERS and name not in other.class_names:
            raise InputError(f"--map {name}: no class of data={other.name}; {did_you_mean(name, other.class_names)}")
    numbers = np.array([_number(name, other.name, own, names) for name in other.class_names])
    split = other.test
    if "label" in split.targets:
        kept = np.flatnonzero(numbers[split.targets["label"]] >= 0)
        split = split if len(kept) == len(split) else split.take(kept)
    if not len(split):
        raise InputError(f"data={other.name}: no test image has a class of the run")
    targets = {name: _converted(name, target, numbers, own) for name, target in split.targets.items()}
    return Split(split.images, targets, split.ids)


def _number(name: str, data: str, own: Sequence[str], names: Mapping[str, str]) -> int:
    """The number in `own` of the class that the other data call `name`; -1 if it is left out."""
    target = names.get(name, name if name in own else names.get(OTHERS, name))
    if target in own:
        return own.index(target)
    if target:
        wanted = f"--map {name}={target}" if name in names else f"data={data}: its class {name!r}"
        raise InputError(
            f"{wanted}: no class of the run; {did_you_mean(target, own)}; `--map {name}=OWN` names its counterpart, "
            f"`--map {name}=` leaves its images out"
        )
    return -1


def _converted(name: str, target: np.ndarray, numbers: np.ndarray, own: Sequence[str]) -> np.ndarray:
    """A target by `name`, as in `Split`, with the classes `numbers` in place of 0, 1, …"""
    match name:
        case "label":
            return numbers[target]
        case "soft_label" | "labels":
            columns = np.zeros((len(target), len(own)), target.dtype)
            for number, column in zip(numbers, target.T, strict=True):
                if number >= 0:
                    columns[:, number] += column
            return columns
        case "classes":
            if (numbers[target[target >= 0]] < 0).any():
                raise InputError("--map: objects in boxes cannot be left out; accepted: a class of the run for each")
            return np.where(target >= 0, numbers[target], -1)
        case "mask":
            values = np.full(256, VOID, np.uint8)
            values[0] = 0
            values[1 : 1 + len(numbers)] = np.where(numbers >= 0, numbers + 1, VOID)
            return values[target]
    return target

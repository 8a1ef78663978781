"""Counts and sizes of a data set as text."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cifar.data.invalid_files import Invalid
from cifar.data.photos import cache
from cifar.inspection import photos
from cifar.interfaces import Dataset, Split
from cifar.runtime import terminal

MAX_CLASSES = 40
"""Of more classes, the most frequent and the least frequent are listed."""
MAX_MESSAGES = 20
"""Number of messages about invalid files that are listed."""


def as_text(dataset: Dataset, invalid: Invalid, columns: int, path: str | None = None) -> str:
    """Format what was found at `path`, in lines of at most `columns` characters where that can be."""
    parts = [*_facts(dataset, path), "", terminal.table(_counts(dataset), columns), *_invalid(invalid)]
    return "\n".join(parts)


def _splits(dataset: Dataset) -> dict[str, Split]:
    """The splits that have images."""
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    return {name: split for name, split in splits.items() if len(split)}


def _facts(dataset: Dataset, path: str | None) -> Iterable[str]:
    splits = _splits(dataset)
    height, width, channels = dataset.image_shape
    images = sum(map(len, splits.values()))
    size = sum(array.nbytes for split in splits.values() for array in (split.images, *split.targets.values()))
    yield f"{dataset.name}: {images:,} images of {_plural(len(dataset.class_names), 'class', 'classes')}"
    if found := photos.description(path, splits.values()):
        yield f"photos: {found}"
    yield f"size: {width}×{height} pixels, {_plural(channels, 'channel', 'channels')}"
    yield f"targets: {', '.join(dataset.test.targets)}"
    yield f"memory: {size / 1e6:,.1f} MB"
    if kept := cache.entries():
        yield f"decoded photos of this and other sets: {sum(kept.values()) / 1e6:,.1f} MB in {cache.root()}"


def _counts(dataset: Dataset) -> list[list[str]]:
    """A row for each class with its number of images in each split, then all images."""
    splits = _splits(dataset)
    names = [terminal.printable(name) for name in dataset.class_names]
    counts = np.stack([split.images_by_class(len(names)) for split in splits.values()], axis=1)
    order = np.argsort(-counts.sum(axis=1), kind="stable")
    listed = np.arange(len(names)) if len(names) <= MAX_CLASSES else order
    rows = [[names[k], *map(_number, counts[k]), _number(counts[k].sum())] for k in listed]
    if len(names) > MAX_CLASSES:
        half = MAX_CLASSES // 2
        rows[half:-half] = [[f"… {len(names) - MAX_CLASSES:,} more"] + [""] * (len(splits) + 1)]
    without = [int((~split.classes_by_image(len(names)).any(axis=1)).sum()) for split in splits.values()]
    if any(without):
        rows.append(["(no class)", *map(_number, without), _number(sum(without))])
    sizes = [len(split) for split in splits.values()]
    return [["images with", *splits, "all"], *rows, ["all images", *map(_number, sizes), _number(sum(sizes))]]


def _invalid(invalid: Invalid) -> Iterable[str]:
    messages = invalid.messages
    if messages:
        kinds = ", ".join(f"{count:,} {kind.removeprefix('skipped ')}" for kind, count in invalid.counts().items())
        yield f"\ninvalid, which a training refuses unless data.on_invalid=skip: {kinds}"
        yield from (f"  {terminal.printable(message)}" for message in messages[:MAX_MESSAGES])
        if len(messages) > MAX_MESSAGES:
            yield f"  … {len(messages) - MAX_MESSAGES:,} more"


def _plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _number(value: int) -> str:
    return f"{value:,}"

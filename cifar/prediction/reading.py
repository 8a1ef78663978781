"""Image files, read in batches for a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cifar.images.io import open_image
from cifar.images.photos import Photo, Preparation, prepare
from cifar.runtime.errors import InputError

BATCH = 64

Refuse = Callable[[InputError], None]
"""Called for each file that cannot be read."""


def readable(paths: Sequence[Path], refuse: Refuse) -> list[Path]:
    """Return the files that begin like images; nothing is decoded."""
    found = []
    for path in paths:
        try:
            open_image(path, path).close()
        except InputError as error:
            refuse(error)
        else:
            found.append(path)
    return found


def batches(paths: Sequence[Path], preparation: Preparation, refuse: Refuse) -> Iterator[list[tuple[Path, Photo]]]:
    """Read the files for a model."""
    batch: list[tuple[Path, Photo]] = []
    for path in paths:
        try:
            photo = prepare(open_image(path, path), preparation, path)
        except InputError as error:
            refuse(error)
            continue
        batch.append((path, photo))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch

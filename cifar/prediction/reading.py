"""Image files, read in batches for a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cifar.images.io import open_image
from cifar.images.photos import Photo, prepare
from cifar.runtime.errors import InputError

BATCH = 64
PIXELS = 2**25
"""Pixels of whole photos in memory at once, about: a batch ends there."""

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


def batches(
    paths: Sequence[Path], shape: tuple[int, int, int], is_dense: bool, refuse: Refuse
) -> Iterator[list[tuple[Path, Photo]]]:
    """Read the files for a model of this image `shape` (height, width, channels), whose task is dense or not."""
    batch: list[tuple[Path, Photo]] = []
    pixels = 0
    for path in paths:
        try:
            photo = prepare(open_image(path, path), shape, is_dense, path)
        except InputError as error:
            refuse(error)
            continue
        batch.append((path, photo))
        pixels += photo.pixels.size // photo.pixels.shape[-1]
        if len(batch) == BATCH or pixels >= PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch

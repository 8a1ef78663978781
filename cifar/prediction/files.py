"""Image files by name, by folder, and by pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cifar.images.io import SUFFIXES
from cifar.runtime.errors import InputError

PICTURE, RECORD = ".predicted.png", ".predicted.json"
"""The ends of the names of the files that `predict` writes next to an image."""


def expanded(given: Sequence[str]) -> list[Path]:
    """Return the files that are named, those in named folders and below, and those that patterns match.

    Folders and patterns give images in the order of their names. Raises `InputError` where they give none.
    """
    found: dict[Path, None] = {}
    for name in given:
        if os.path.isdir(name):
            images = list(_images_in(name))
        elif not os.path.lexists(name) and glob.has_magic(name):
            images = sorted(path for path in map(Path, glob.glob(name, recursive=True)) if _is_image(path.name))
        else:
            images = [Path(name)]
        if not images:
            raise InputError(f"{name}: no images there; accepted: names of files that end in {', '.join(SUFFIXES)}")
        found |= dict.fromkeys(images)
    return list(found)


def _images_in(folder: str) -> Iterator[Path]:
    """The images in a folder and the folders below it, without hidden ones; links to folders are not followed."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if _is_image(name))


def _is_image(name: str) -> bool:
    name = name.lower()
    return name.endswith(SUFFIXES) and not name.endswith(PICTURE) and not name.startswith(".")

"""Where an export goes: a folder with the next number, which appears when it is complete and never changes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar.files import atomic
from cifar.runtime.errors import InputError

CARD = "model.json"
"""The file by which an export is known."""


def check(folder: Path) -> None:
    """Raise `InputError` unless `folder` is for exports: not there yet, empty, or with an earlier export in it."""
    nearest = _nearest(folder)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(f"{folder}: cannot be written; accepted: a folder that is there and writable, or can be made")
    if nearest == folder:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if entries and not any(path.name.isdecimal() and (path / CARD).is_file() for path in entries):
            raise InputError(
                f"{folder}: holds other files, such as {entries[0].name}; accepted: a new or an empty "
                "folder, or one of earlier exports"
            )


@contextmanager
def partial(folder: Path) -> Iterator[Path]:
    """A temporary folder for an export to `folder`, which is gone afterwards unless it is published.

    It is in `folder`, or where that is not there yet in the nearest parent, so that an export that fails leaves no
    folder. TensorFlow Serving passes over its name, since that is no number.
    """
    path = atomic.temporary_path(_nearest(folder))
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def publish(path: Path, folder: Path) -> Path:
    """Move the temporary folder at `path` to the number in `folder` after the highest that is there; its new path.

    Another export may take that number meanwhile: a folder that holds something is never replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        numbers = [int(other.name) for other in folder.iterdir() if other.name.isdecimal()]
        target = folder / str(max(numbers, default=0) + 1)
        try:
            return path.rename(target)
        except OSError:
            if not target.exists():
                raise


def _nearest(folder: Path) -> Path:
    """`folder`, or the nearest of its parents that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())

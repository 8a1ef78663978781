"""The folder of an export, with a version number: it appears when it is complete and never changes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar.files import atomic
from cifar.runtime.errors import InputError

CARD = "model.json"
"""The file that identifies an export."""


def check(folder: Path) -> None:
    """Raise `InputError` unless `folder` can take an export: missing, empty, or with an earlier export."""
    nearest = _nearest(folder)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(f"{folder}: cannot be written; accepted: a writable folder, or one that can be created")
    if nearest == folder:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if entries and not any(path.name.isdecimal() and (path / CARD).is_file() for path in entries):
            raise InputError(
                f"{folder}: contains other files, such as {entries[0].name}; accepted: a new or an empty "
                "folder, or one of earlier exports"
            )


@contextmanager
def partial(folder: Path) -> Iterator[Path]:
    """Create a temporary folder for an export to `folder`; it is removed afterwards unless it is published.

    It is in `folder`, or in the nearest existing parent, so that a failed export leaves no folder. TensorFlow Serving
    ignores it, since its name is no number. What killed exports have left in either place is removed.
    """
    atomic.remove_leftovers(folder.absolute().parent)
    path = atomic.temporary_path(_nearest(folder))
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def publish(path: Path, folder: Path) -> Path:
    """Move the temporary folder at `path` to the next version number in `folder`; return the new path.

    If another export takes that number in the meantime, the next one is used: non-empty folders are never replaced.
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
    """Return `folder` or its nearest existing parent."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())

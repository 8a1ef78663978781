"""Where an export goes: a folder that is whole or not there, with a number that none had before."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar.errors import InputError


@contextmanager
def partial(folder: Path) -> Iterator[Path]:
    """A new folder below `folder` for what is not whole yet, which is gone afterwards unless it is published.

    TensorFlow Serving passes over its name, since that is no number. Raises `InputError` where it cannot be made.
    """
    path = folder / f".{uuid.uuid4().hex}.partial"
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); accepted: a folder that is there and "
                         "writable, or can be made") from None
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def publish(path: Path) -> Path:
    """Give the partial folder at `path` the number after the highest that is there; its new path.

    Another export may take that number meanwhile: a folder that holds something is never replaced.
    """
    while True:
        numbers = [int(other.name) for other in path.parent.iterdir() if other.name.isdecimal()]
        target = path.parent / str(max(numbers, default=0) + 1)
        try:
            return path.rename(target)
        except OSError:
            if not target.exists():
                raise

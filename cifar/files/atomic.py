"""Atomic writes: a file holds its old content or all of its new content, even after a SIGKILL or a power cut.

The new content goes to a temporary file in the same folder, is flushed to the disk, and is renamed. The name of a
temporary file states the process that writes it; the next process that writes to the folder removes the files of
processes that are gone.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar.runtime import processes

PREFIX = ".cifar-partial"
NAME = re.compile(rf"{re.escape(PREFIX)},([^,]+),(\d+),([^,]+),[0-9a-f]{{8}}.*")
"""Host, process id and start time of the process, a random part, and the suffix of the file that it becomes."""


def write(path: Path, content: bytes) -> None:
    """Write the file at `path`; raises `OSError`, and then an earlier file stays as it was."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a temporary file, which becomes the file at `path` unless the body of the `with` raises.

    Where `path` is a link, the file that it points to is replaced.
    """
    target = path.resolve()
    temporary = temporary_path(target.parent, target.suffix)
    try:
        yield temporary
        replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def replace(temporary: Path, path: Path) -> None:
    """Flush the file at `temporary` to the disk and rename it to `path`, which is in the same folder."""
    _flush(temporary)
    os.replace(temporary, path)
    _flush(path.parent)


def temporary_path(folder: Path, suffix: str = "") -> Path:
    """A new path in `folder` for a temporary file or folder of this process; earlier ones that were left are removed.

    Nothing is created.
    """
    remove_leftovers(folder)
    process = processes.this_process().replace(" ", ",")
    return folder / f"{PREFIX},{process},{uuid.uuid4().hex[:8]}{suffix}"


@functools.cache  # a folder may hold many files, and a process may write many of them
def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders of processes of this machine that are gone."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if (found := NAME.fullmatch(path.name)) and processes.is_gone(" ".join(found.groups()[:3])):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files in memory that have a path."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
ENOUGH = 2**30
"""Bytes that are free there where it is used."""


@contextmanager
def memory_file(name: str) -> Iterator[Path]:
    """The path of a file called `name` in memory, for libraries that write to paths alone; it goes with the `with`.

    HDF5 is such a library: a write that fails on a disk may end its process by a segmentation fault. Where the system
    has no file system in memory, or a small one, it is a temporary file on the disk.
    """
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if _is_large(SHARED_MEMORY) else None) as folder:
        yield Path(folder) / name


def _is_large(folder: Path) -> bool:
    if not os.access(folder, os.W_OK):
        return False
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize >= ENOUGH

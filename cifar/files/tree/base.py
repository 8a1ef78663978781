"""The interface of a tree of files, and a folder on the disk as one."""

from __future__ import annotations

import abc
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from cifar.files.safe_io import LIMIT
from cifar.runtime.errors import InputError

MAX_DEPTH = 32
"""Levels of folders."""


class Tree(abc.ABC):
    """A folder or an archive. Paths are relative to it, with `/` between the names; its own path is empty."""

    name: str
    """The last part of its path, without the suffix of an archive."""
    location: str
    """What messages call it."""

    @abc.abstractmethod
    def is_file(self, path: str) -> bool:
        """True for a file."""

    @abc.abstractmethod
    def is_dir(self, path: str) -> bool:
        """True for a folder."""

    @abc.abstractmethod
    def names(self, path: str) -> list[str]:
        """The names of all files and folders in a folder; raises `OSError`."""

    @abc.abstractmethod
    def open(self, path: str) -> BinaryIO:
        """Open a file; raises `OSError`, and `ValueError` for a member of an archive that cannot be read."""

    @abc.abstractmethod
    def version(self, path: str) -> str:
        """A text that changes when the content of the file changes; raises `OSError`."""


@dataclass(frozen=True)
class TreePath:
    """A file or folder of a tree, with the methods that `pathlib.Path` has for reading."""

    tree: Tree
    path: str = ""

    def __str__(self) -> str:
        return f"{self.tree.location}/{self.path}" if self.path else self.tree.location

    def __truediv__(self, name: str) -> TreePath:
        return TreePath(self.tree, f"{self.path}/{name}" if self.path else name)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2] or self.tree.name

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> TreePath:
        return TreePath(self.tree, self.path.rpartition("/")[0])

    def is_file(self) -> bool:
        return self.tree.is_file(self.path)

    def is_dir(self) -> bool:
        return self.tree.is_dir(self.path)

    def iterdir(self) -> list[TreePath]:
        """The files and folders in this folder, sorted; raises `OSError`."""
        names = sorted(name for name in self.tree.names(self.path) if not name.startswith(".") and name != "__MACOSX")
        return [self / name for name in names]

    def walk(self, depth: int = MAX_DEPTH) -> Iterator[TreePath]:
        """All files below this folder, sorted; raises `OSError` beyond `depth` levels, as of a circle of links."""
        if not depth:
            raise OSError(f"{self}: in more than {MAX_DEPTH} folders")
        for child in self.iterdir():
            if child.is_dir():
                yield from child.walk(depth - 1)
            else:
                yield child

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open this file to read bytes."""
        assert mode == "rb"
        return self.tree.open(self.path)

    def read(self, limit: int | None = None) -> bytes:
        """The content of this file; raises `ValueError` beyond `limit` bytes, `safe_io.LIMIT` by default."""
        limit = limit or LIMIT
        with self.open() as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ValueError(f"more than {limit} bytes")
        return content

    def member(self, name: str) -> TreePath:
        """The file of this `name`, as another file states it; raises `InputError` for a name that leads out of here."""
        path = PurePosixPath(name)
        too_long = any(len(part.encode(errors="replace")) > 255 for part in path.parts)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or too_long:
            raise InputError(
                f"{self}: {name[:100]!r} is no name of a file in it; accepted: names that do not "
                f"lead out of it, of at most 255 bytes"
            )
        return self / str(path)


class Folder(Tree):
    """A folder on the disk. Links are followed, also those that lead out of it."""

    def __init__(self, path: Path):
        self._path = path
        self.name, self.location = path.resolve().name, str(path)

    def is_file(self, path: str) -> bool:
        return os.path.isfile(self._at(path))

    def is_dir(self, path: str) -> bool:
        return os.path.isdir(self._at(path))

    def names(self, path: str) -> list[str]:
        return os.listdir(self._at(path))

    def open(self, path: str) -> BinaryIO:
        return open(self._at(path), "rb")

    def version(self, path: str) -> str:
        status = os.stat(self._at(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{self._at(path)}: no regular file")
        return f"{status.st_size} {status.st_mtime_ns}"

    def _at(self, path: str) -> str:
        return os.path.join(self._path, path)

"""Archives of files, read member by member: ZIP, and tar with or without gzip.

Archives are not trusted: a name that leads out of the archive, a repeated name, or more bytes than the limits allow are
an `InputError`. Links of a tar are read only where they name a member of it.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from cifar.files.safe_io import LIMIT, refusing
from cifar.files.tree.base import Tree
from cifar.runtime.errors import InputError

ACCEPTED = "a folder, .zip, .tar or .tar.gz"
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
EXPANSION, AT_LEAST = 100, 2**30
"""A `.tar.gz` may unpack to this many times its size, or to so many bytes."""
SPLITS = ("train", "val", "valid", "test")
"""A single folder of an archive is left out of all paths unless it has one of these names."""
CHUNK = 2**20


class Member(NamedTuple):
    """A file in an archive: how to open it, and a text that changes with its content."""

    open: Callable[[], BinaryIO]
    version: str


class Archive(Tree):
    """The regular files of an archive, by their paths."""

    def __init__(self, path: Path, members: Mapping[str, Member]):
        listed = {name for name in members if not name.startswith((".", "__MACOSX/"))}
        tops = {name.partition("/")[0] for name in listed if "/" in name}
        single = len(tops) == 1 and all("/" in name for name in listed) and not tops & set(SPLITS)
        top = tops.pop() if single else ""
        self.name = top or _stem(path)
        self.location = f"{path}/{top}" if top else str(path)
        prefix = f"{top}/" if top else ""
        self._members = {name.removeprefix(prefix): members[name] for name in members if name.startswith(prefix)}
        self._folders: dict[str, dict[str, None]] = {"": {}}
        for name in self._members:
            while name:
                parent, _, own = name.rpartition("/")
                self._folders.setdefault(parent, {})[own] = None
                name = parent

    def is_file(self, path: str) -> bool:
        return path in self._members

    def is_dir(self, path: str) -> bool:
        return path in self._folders

    def names(self, path: str) -> list[str]:
        if path not in self._folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.location}/{path}")
        return list(self._folders[path])

    def open(self, path: str) -> BinaryIO:
        return self._member(path).open()

    def version(self, path: str) -> str:
        return self._member(path).version

    def _member(self, path: str) -> Member:
        if path not in self._members:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.location}/{path}")
        return self._members[path]


def open_archive(path: Path) -> Archive:
    """Open the archive at `path`; raises `InputError`."""
    with refusing(path, ACCEPTED):
        if path.name.lower().endswith(".zip"):
            return Archive(path, _by_name(_zip_members(path)))
        if path.name.lower().endswith(SUFFIXES):
            return Archive(path, _by_name(_tar_members(path)))
    raise InputError(f"{path}: is a file; accepted: {ACCEPTED}")


def _stem(path: Path) -> str:
    suffix = next(suffix for suffix in reversed(SUFFIXES) if path.name.lower().endswith(suffix))
    return path.name[: -len(suffix)]


def _by_name(members: Iterator[tuple[str, Member]]) -> dict[str, Member]:
    found: dict[str, Member] = {}
    for stated, member in members:
        path = PurePosixPath(stated)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in stated:
            raise ValueError(f"member {stated[:100]!r} leads out of it")
        if (name := str(path)) in found:
            raise ValueError(f"two members are called {name[:100]!r}")
        found[name] = member
    return found


def _zip_members(path: Path) -> Iterator[tuple[str, Member]]:
    archive = zipfile.ZipFile(path)  # its members can be opened in several threads
    for info in archive.infolist():
        if not info.is_dir():
            name = info.filename.replace("\\", "/")  # some programs of Windows write these
            yield name, Member(_opener(archive, info), f"{info.file_size} {info.CRC:08x}")


def _opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    def open_member() -> BinaryIO:
        if info.file_size > LIMIT:
            raise ValueError(f"more than {LIMIT} bytes")
        try:
            return io.BytesIO(archive.read(info))
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:  # damaged, or encrypted
            raise ValueError(str(error)) from None

    return open_member


def _tar_members(path: Path) -> Iterator[tuple[str, Member]]:
    """The members of a tar. One with gzip is unpacked to an unnamed temporary file, as gzip cannot be read anywhere."""
    file = path.open("rb") if path.name.lower().endswith(".tar") else _unpacked(path)
    status = path.stat()
    found: dict[str, Member] = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for info in archive:
            if info.isdir():
                continue
            version = f"{status.st_size} {status.st_mtime_ns} {info.offset_data}"
            member = Member(_slice(file, info), version)
            if info.islnk():
                member = found.get(info.linkname, member)
            found[info.name] = member
            yield info.name, member
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError("it is cut off")


def _slice(file: BinaryIO, info: tarfile.TarInfo) -> Callable[[], BinaryIO]:
    def open_member() -> BinaryIO:
        if not info.isreg() or info.sparse is not None:
            raise ValueError("a link, a sparse file or a device")
        if info.size > LIMIT:
            raise ValueError(f"more than {LIMIT} bytes")
        content = os.pread(file.fileno(), info.size, info.offset_data)  # threads share the file, so it is not sought
        if len(content) < info.size:
            raise ValueError("the archive ends within it")
        return io.BytesIO(content)

    return open_member


def _unpacked(path: Path) -> BinaryIO:
    limit = max(AT_LEAST, EXPANSION * path.stat().st_size)
    file = tempfile.TemporaryFile()  # noqa: SIM115, for it stays open with the tree
    with gzip.open(path) as stream:
        while chunk := stream.read(CHUNK):
            file.write(chunk)
            if file.tell() > limit:
                raise ValueError(f"unpacks to more than {limit} bytes")
    file.flush()
    file.seek(0)
    return file

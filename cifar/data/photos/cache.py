"""Decoded photos in files that all processes of a machine map into memory.

An entry is a folder with the images of a list of photos: `images.npy`, and `facts.npz` with the key, the size and the
SHA-256 of each. Its name depends on the paths, versions and settings of all. It is written under another name and
renamed, by one process at a time. The least recently used entries are removed when the cache is full.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from cifar.data.download import cache_folder
from cifar.data.photos.listing import Options
from cifar.files import atomic
from cifar.files.tree import TreePath
from cifar.runtime.errors import warn
from cifar.runtime.lazy import np

LIMIT = 20.0
"""Gigabytes of all entries, by default."""
IMAGES, FACTS = "images.npy", "facts.npz"
ENTRIES = 3
"""Earlier entries of the same folder that a new one takes photos from."""

_gigabytes: ContextVar[float] = ContextVar("gigabytes", default=LIMIT)


class NotCached(Exception):  # noqa: N818, for it is no error
    """The photos do not fit into the cache, or it cannot be written."""


@contextmanager
def limited_to(gigabytes: float) -> Iterator[None]:
    """Inside the `with`, all entries together have at most so many gigabytes; 0: nothing is kept."""
    token = _gigabytes.set(gigabytes)
    try:
        yield
    finally:
        _gigabytes.reset(token)


class Entry:
    """The decoded photos of a list: `images` uint8 (n, height, width, channels), and their facts."""

    def __init__(self, folder: Path):
        """Map the entry at `folder`; raises `OSError` or `ValueError` if there is none."""
        self.images = np.asarray(np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False))
        with np.load(folder / FACTS, allow_pickle=False) as facts:
            self.keys, self.sizes, self.digests = facts["keys"], facts["sizes"], facts["digests"]
        if not len(self.images) == len(self.keys) == len(self.sizes) == len(self.digests):
            raise ValueError(f"{folder}: lengths differ")
        os.utime(folder)
        self._folder = folder

    def remove(self) -> None:
        """Remove the entry; who has mapped it keeps its images."""
        shutil.rmtree(self._folder, ignore_errors=True)


if TYPE_CHECKING:
    Store = Callable[[int, np.ndarray], None]
    """Keeps the image of a row."""
    Decode = Callable[[Sequence[int], Store, np.ndarray, np.ndarray], None]
    """Decodes the photos of some rows, and writes their sizes and digests to arrays."""


def cached(photos: Sequence[TreePath], options: Options, decode: Decode) -> Entry:
    """The entry of `photos`; those that are in no earlier entry are decoded. Raises `NotCached`.

    The sizes of a photo that cannot be decoded are 0.
    """
    source = os.path.realpath(photos[0].tree.location)
    family = f"{source}\0{options.reader}\0{options.shape}\0{options.resize}"
    folder = root() / hashlib.sha256(os.fsencode(family)).hexdigest()[:16]
    keys = np.stack([_key(photo) for photo in photos])
    path = folder / hashlib.sha256(keys.data).hexdigest()[:32]
    if found := _opened(path):
        return found
    try:
        with _locked(folder):
            if found := _opened(path):
                return found
            with _locked(folder.parent):
                _make_room(len(photos) * int(np.prod(options.shape)))
            return _written(path, keys, options, decode)
    except OSError as error:
        raise NotCached(f"{folder}: {error.strerror or error}") from None


def root() -> Path:
    """The folder of all entries."""
    return cache_folder() / "photos"


def entries() -> dict[Path, int]:
    """The folders of all entries, and the bytes of their images."""
    return {path.parent: path.stat().st_size for path in root().glob(f"*/[!.]*/{IMAGES}")}


def clear() -> dict[Path, int]:
    """Remove all entries, which processes that have mapped them keep; return what `entries` did."""
    found = entries()
    for entry in found:
        shutil.rmtree(entry, ignore_errors=True)
    return found


def _key(photo: TreePath) -> np.ndarray:
    try:
        version = photo.tree.version(photo.path)
    except OSError:  # it cannot be decoded either
        version = ""
    text = os.fsencode(f"{photo.path}\0{version}")
    return np.frombuffer(hashlib.sha256(text).digest()[:16], np.uint8)


def _opened(path: Path) -> Entry | None:
    try:
        return Entry(path)
    except (OSError, ValueError, KeyError, EOFError):  # none, or removed or damaged meanwhile
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Inside the `with`, no other process writes an entry to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            warn("another process decodes these photos; this one waits for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_room(size: int) -> None:
    """Remove the entries that were not used for the longest time, until `size` more bytes fit in."""
    limit = _gigabytes.get() * 1e9
    if size > limit:
        raise NotCached(f"{size / 1e9:.1f} GB of decoded photos; data.cache_gb={_gigabytes.get():g}")
    found = entries()
    for entry in sorted(found, key=lambda entry: entry.stat().st_mtime):
        if sum(found.values()) + size <= limit:
            break
        shutil.rmtree(entry, ignore_errors=True)  # processes that have mapped it keep it
        del found[entry]


def _written(path: Path, keys: np.ndarray, options: Options, decode: Decode) -> Entry:
    temporary = atomic.temporary_path(path.parent)
    temporary.mkdir()
    sizes, digests = np.zeros((len(keys), 2), np.int32), np.zeros((len(keys), 32), np.uint8)
    shape = (len(keys), *options.shape)
    try:
        with (temporary / IMAGES).open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            file.flush()
            start, size = file.tell(), int(np.prod(options.shape))
            os.posix_fallocate(file.fileno(), 0, start + len(keys) * size)  # a full disk is noticed now

            def store(row: int, image: np.ndarray) -> None:
                os.pwrite(file.fileno(), np.ascontiguousarray(image).data, start + row * size)

            missing = _copied(path.parent, keys, store, sizes, digests)
            decode(missing, store, sizes, digests)
            os.fsync(file.fileno())
        np.savez(temporary / FACTS, keys=keys, sizes=sizes, digests=digests)
        shutil.rmtree(path, ignore_errors=True)  # a damaged one
        atomic.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Entry(path)


def _copied(folder: Path, keys: np.ndarray, store: Store, sizes: np.ndarray, digests: np.ndarray) -> list[int]:
    """Copy the photos that earlier entries in `folder` have; return the rows of the others."""
    rows: dict[bytes, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key.tobytes(), []).append(row)
    entries = sorted((path for path in folder.iterdir() if path.name[0] != "."), key=lambda path: -path.stat().st_mtime)
    for entry in filter(None, map(_opened, entries[:ENTRIES])):
        for number in np.flatnonzero(entry.sizes.any(axis=1)):
            for row in rows.pop(entry.keys[number].tobytes(), ()):
                store(row, entry.images[number])
                sizes[row], digests[row] = entry.sizes[number], entry.digests[number]
    return sorted(itertools.chain(*rows.values()))

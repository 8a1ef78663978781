"""The tables of a folder or an archive, and the photos that they name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import PurePosixPath

from cifar.data.photos import is_image
from cifar.data.tables.reading import ACCEPTED, SUFFIXES
from cifar.files.tree import TreePath
from cifar.runtime.errors import InputError, closest

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""The names of splits that folders, files and cells may have."""
METADATA = "metadata"
"""The name, without suffix, of the table in a folder of Hugging Face's `imagefolder`."""

MAX_COMPARED = 1000
"""Maximum number of names among which a message looks for the nearest one."""


def split_of(name: str) -> str | None:
    """The split that is called `name`: train, val, test, or None."""
    return next((split for split, names in SPLITS.items() if name.strip().lower() in names), None)


def tables_of(root: TreePath, name: str | None) -> Sequence[tuple[TreePath, str | None]]:
    """Return the tables of `root`, each with the split of its rows, None if their cells or files say it.

    It is the file `name`, or those of the folder `name`; else `metadata.*` in the folders of splits or in `root`; else
    a table for each split, such as `train.csv` or `train_labels.csv`; else the only one. Raises `InputError`.
    """
    if name is not None:
        table = root.member(name)
        if table.is_dir():
            return tables_of(table, None)
        if not table.is_file():
            nearest = closest(name, _names(_tables(root)))
            raise InputError(f"data.table={name}: no such file in {root}; {nearest}accepted: a file below data.path")
        return [(table, None)]
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; accepted for data.path: a folder or archive of photos with a table")
    folders = [(child, split) for child in root.iterdir() if child.is_dir() and (split := split_of(child.name))]
    of_splits = [(table, split) for folder, split in folders for table in _tables(folder) if table.stem == METADATA]
    if of_splits:
        return of_splits
    found = _tables(root)
    named = [table for table in found if table.stem == METADATA] or found
    by_split = [(table, split) for table in named if (split := split_of(re.split("[-_. ]", table.stem)[0]))]
    if any(split == "train" for _, split in by_split):
        return by_split
    if len(named) != 1:
        there = f"has {', '.join(_names(named))}; data.table=FILE chooses one" if named else "has no table"
        raise InputError(f"{root}: {there}; accepted: {ACCEPTED}")
    return [(named[0], None)]


def _tables(folder: TreePath) -> list[TreePath]:
    return [child for child in folder.iterdir() if child.suffix.lower() in SUFFIXES and child.is_file()]


def _names(paths: Sequence[TreePath]) -> list[str]:
    return [path.name for path in paths]


class Photos:
    """The photos below `root`, by the names that a table in `folder` states.

    A name is a path below `folder` or `root`. If there is none, as of a path of another machine or without a suffix, it
    is the photo whose last names are the same, if only one is.
    """

    def __init__(self, root: TreePath, folder: TreePath):
        self._root = root
        self._folders = list(dict.fromkeys((folder, root)))

    def find(self, stated: str, where: str) -> TreePath:
        """Return the photo that is called `stated` in the table at `where`; raises `InputError`."""
        path = PurePosixPath(stated.replace("\\", "/"))
        if not path.is_absolute() and ".." not in path.parts and "\0" not in stated:
            for folder in self._folders:
                photo = folder / str(path)
                if photo.is_file():
                    return photo
        return self._by_last_names(path, stated, where)

    def _by_last_names(self, path: PurePosixPath, stated: str, where: str) -> TreePath:
        wanted = [part.casefold() for part in reversed(path.parts)]
        found = self._photos.get(wanted[0], []) if wanted else []
        shared = {photo: _shared(wanted, photo) for photo in found}
        best = [photo for photo in found if shared[photo] == max(shared.values())]
        if len(best) == 1:
            return best[0]
        if best:
            there = ", ".join(photo.path for photo in best[:3])
            raise InputError(f"{where}: {stated} may be {there}; accepted: a path below {self._folders[0]}")
        nearest = closest(path.name.casefold(), self._photos) if len(self._photos) <= MAX_COMPARED else ""
        raise InputError(
            f"{where}: no file {stated} in {self._root}; {nearest}accepted: a path below {self._folders[0]}"
        )

    @cached_property
    def _photos(self) -> dict[str, list[TreePath]]:
        """All files below `root` by name, and by name without suffix, as if written in lower case."""
        found: dict[str, list[TreePath]] = {}
        for photo in self._root.walk():
            if is_image(photo):
                for name in {photo.name.casefold(), photo.stem.casefold()}:
                    found.setdefault(name, []).append(photo)
        return found


def _shared(wanted: Sequence[str], photo: TreePath) -> int:
    """Number of last names that a photo's path shares with `wanted`, which has the last one first."""
    folders = [part.casefold() for part in reversed(photo.path.split("/")[:-1])]
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(wanted[1:], folders, strict=False))))

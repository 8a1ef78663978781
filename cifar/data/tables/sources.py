"""The tables of a folder or an archive."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cifar.data.photos import SPLITS
from cifar.data.tables.reading import ACCEPTED, SUFFIXES
from cifar.files.tree import TreePath
from cifar.runtime.errors import InputError, closest

METADATA = "metadata"
"""The name, without suffix, of the table in a folder of Hugging Face's `imagefolder`."""


def split_of(name: str) -> str | None:
    """The split that is called `name`: train, val, test, or None."""
    return next((split for split, names in SPLITS.items() if name.strip().lower() in names), None)


def tables_of(root: TreePath, name: str | None) -> Sequence[tuple[TreePath, str | None]]:
    """Return the tables of `root`, each with the split of its rows, None if their cells or files say it.

    It is the file `name`, or those of the folder `name`; else `metadata.*` in the folders of splits or in `root`; else
    a table for each split, such as `train.csv` or `train_labels.csv`; else the only one. A folder `data` may have them
    if `root` has none. Raises `InputError`.
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
    if not named and (root / "data").is_dir():
        return tables_of(root / "data", None)
    if len(named) != 1:
        there = f"has {', '.join(_names(named))}; data.table=FILE chooses one" if named else "has no table"
        raise InputError(f"{root}: {there}; accepted: {ACCEPTED}")
    return [(named[0], None)]


def _tables(folder: TreePath) -> list[TreePath]:
    return [child for child in folder.iterdir() if child.suffix.lower() in SUFFIXES and child.is_file()]


def _names(paths: Sequence[TreePath]) -> list[str]:
    return [path.name for path in paths]

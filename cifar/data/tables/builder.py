"""From tables and photos to a data set."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, Share
from cifar.data.annotated.base import checked_box, object_targets, rarest
from cifar.data.invalid_files import OnInvalid, handling_invalid, skipping_invalid
from cifar.data.photos import SPLITS, Example, Finder, Listing, Options, Reader, Resize, Size, photo_dataset
from cifar.data.tables.columns import SEPARATORS, Columns, box_of, file_of, labels_of
from cifar.data.tables.reading import SUFFIXES, Row, read_table
from cifar.data.tables.sources import split_of, tables_of
from cifar.files.tree import ParquetImages, TreePath, open_tree
from cifar.interfaces import Dataset
from cifar.runtime.errors import InputError, closest, warn
from cifar.runtime.lazy import np
from cifar.runtime.terminal import first_of, unescaped

SHOWN = 5
"""Number of files that a warning names."""


@dataclass(frozen=True)
class Entry:
    """A row of a table. `labels` is a list where an image may have any number; `box` is left, top, right, bottom.

    In a table of boxes, a row without labels and box is of an image without objects.
    """

    where: str
    photo: TreePath
    split: str | None
    labels: list[str] | str
    box: list[float] | None


@DATASETS.register
def table(
    seed: int,
    *,
    path: str,
    table: str | None,
    file_column: str | None,
    label_column: str | list[str] | None,
    separator: Literal["comma", "semicolon", "pipe", "space"] | None,
    split_column: str,
    size: Size,
    resize: Resize | None = None,
    cached_size: Size | None = None,
    val_fraction: Share,
    test_fraction: Share,
    limit: PositiveInt | None,
    on_invalid: OnInvalid,
    reader: Reader,
) -> Dataset:
    """Photos below `path` as images of `size`, with the labels of a table that is there too, or that `path` itself is.

    A row has a file, or an image in a cell of Parquet, and its class; or several, as a list, between `separator`, or
    each in a column of its own, if `label_column` lists columns. With the columns xmin, ymin, xmax and ymax, a row is a
    box; without `resize`, photos with boxes are letterboxed, and others cropped. Warns of images without a row. Raises
    `InputError`. For the other settings and errors see `photo_dataset`.
    """
    location = Path(path).expanduser()
    if table is None and location.suffix.lower() in SUFFIXES and location.is_file():
        location, table = location.parent, location.name
    with handling_invalid(on_invalid):
        root = TreePath(ParquetImages(open_tree(location).tree))
        entries: list[Entry] = []
        finder = Finder(root)
        for source, split in tables_of(root, table):
            read = read_table(source)
            columns = Columns.of(read, file_column, label_column, separator and SEPARATORS[separator], split_column)
            for row in read.rows:
                with skipping_invalid("row"):
                    entries.append(_entry(row, columns, finder, source.parent.path, split))
        if not entries:
            raise InputError(f"{root}: no row of its tables is valid; accepted: at least one in each split")
        _warn_of_others(root, finder, entries)
        options = Options(
            seed, size, resize or _resize(entries), val_fraction, test_fraction, limit, reader, cached_size
        )
        return _dataset(root, entries, options)


def _warn_of_others(root: TreePath, finder: Finder, entries: Sequence[Entry]) -> None:
    """Warn of images below `root` that no row has."""
    known = {entry.photo for entry in entries}
    others = [unescaped(photo.path) for photo in finder.photos if photo not in known]
    if others:
        warn(f"{root}: {len(others)} images are passed over, as no row has them: {first_of(others, SHOWN)}")


def _entry(row: Row, columns: Columns, finder: Finder, folder: str, split: str | None) -> Entry:
    """The entry of a row, the file of which is named from the `folder` of its table."""
    photo = finder.photo(f"{folder}/{file_of(row, columns)}", row.where)
    if columns.split is not None:
        stated = str(row.cells.get(columns.split))
        split = split_of(stated)
        if split is None:
            accepted = f"{closest(stated, SPLITS)}accepted: {', '.join(SPLITS)}"
            raise InputError(f"{row.where}: {columns.split}={stated}: no split; {accepted}")
    box = box_of(row, columns)
    labels = [] if columns.box and box is None else labels_of(row, columns)
    return Entry(row.where, photo, split, labels, box)


def _dataset(root: TreePath, entries: Sequence[Entry], options: Options) -> Dataset:
    class_names = _class_names(entries, root)
    by_split: dict[str | None, list[Entry]] = {}
    for entry, split in zip(entries, _splits(entries), strict=True):
        by_split.setdefault(split, []).append(entry)
    make = _boxes if _has_boxes(entries) else _several if _has_several(entries) else _single
    parts = {split: list(make(part, class_names)) for split, part in by_split.items()}
    train = parts.get("train", parts.get(None))
    return photo_dataset(Listing(root.name, root, class_names, train, parts.get("val"), parts.get("test")), options)


def _splits(entries: Sequence[Entry]) -> list[str | None]:
    """The split of each entry: that of its row or table, else the folder that its photo is in if all name a split."""
    if any(entry.split for entry in entries):
        return [entry.split for entry in entries]
    folders = [split_of(entry.photo.path.partition("/")[0]) for entry in entries]
    return folders if all(folders) and "train" in folders else [None] * len(entries)


def _class_names(entries: Sequence[Entry], root: TreePath) -> tuple[str, ...]:
    """The labels in their order, as numbers where all are."""
    names = {name for entry in entries for name in _listed(entry.labels)}
    if not names:
        raise InputError(f"{root}: no row of its tables has a label; accepted: at least one")
    return tuple(sorted(names, key=int if all(name.isdecimal() for name in names) else None))


def _listed(labels: list[str] | str) -> list[str]:
    return [labels] if isinstance(labels, str) else labels


def _has_several(entries: Sequence[Entry]) -> bool:
    return any(isinstance(entry.labels, list) for entry in entries)


def _resize(entries: Sequence[Entry]) -> Resize:
    return "letterbox" if _has_boxes(entries) else "crop"


def _has_boxes(entries: Sequence[Entry]) -> bool:
    return any(entry.box for entry in entries)


def _single(entries: Sequence[Entry], class_names: tuple[str, ...]) -> Iterator[Example]:
    numbers = {name: number for number, name in enumerate(class_names)}
    for entry in _unique(entries):
        label = numbers[str(entry.labels)]
        yield Example(entry.photo, label, functools.partial(_fixed, {"label": np.asarray(label, np.int64)}))


def _several(entries: Sequence[Entry], class_names: tuple[str, ...]) -> Iterator[Example]:
    numbers = {name: number for number, name in enumerate(class_names)}
    entries = _unique(entries)
    classes = [np.array([numbers[name] for name in _listed(entry.labels)], np.int64) for entry in entries]
    for entry, group, own in zip(entries, rarest(classes, len(numbers)), classes, strict=True):
        labels = np.zeros(len(numbers), bool)
        labels[own] = True
        yield Example(entry.photo, group, functools.partial(_fixed, {"labels": labels}))


def _boxes(entries: Sequence[Entry], class_names: tuple[str, ...]) -> Iterator[Example]:
    numbers = {name: number for number, name in enumerate(class_names)}
    rows: dict[TreePath, list[Entry]] = {}
    for entry in entries:
        rows.setdefault(entry.photo, []).extend([entry] if entry.box else [])
    classes = [np.array([numbers[str(entry.labels)] for entry in own], np.int64) for own in rows.values()]
    groups = rarest(classes, len(numbers))
    for (photo, own), group, labels in zip(rows.items(), groups, classes, strict=True):
        yield Example(photo, group, functools.partial(_objects, own, labels))


def _unique(entries: Sequence[Entry]) -> list[Entry]:
    """The entries; a second row of an image is invalid."""
    found: dict[TreePath, Entry] = {}
    for entry in entries:
        with skipping_invalid("row"):
            if first := found.get(entry.photo):
                raise InputError(
                    f"{entry.where}: {entry.photo.path} again, as in {first.where}; accepted: a row for each image"
                )
            found[entry.photo] = entry
    return list(found.values())


def _fixed(targets: Mapping[str, np.ndarray], size: tuple[int, int]) -> Mapping[str, np.ndarray]:
    """The targets of a photo of any size."""
    return targets


def _objects(entries: Sequence[Entry], labels: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
    boxes = [checked_box(entry.box or [], size, entry.where) for entry in entries]
    return object_targets(boxes, labels.tolist(), [False] * len(boxes))

"""The columns of a table that have the file, the labels, the box and the split of each row."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cifar.data.tables.reading import Row, Table
from cifar.runtime.errors import InputError, closest
from cifar.runtime.terminal import unescaped

FILES = ("file_name", "filename", "file", "file_path", "filepath", "path", "image", "image_path", "image_name", "id")
LABELS = ("label", "labels", "class", "classes", "class_name", "category", "categories", "tag", "tags", "target")
BOXES = (("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("left", "top", "right", "bottom"))
"""Names of columns that are found without a setting, the first that a table has; upper case counts as lower case."""
SEPARATORS = {"comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table.

    If they `are_classes`, each of `labels` is a class and has 0 or 1. `separator` is between several labels in a cell.
    `box` are left, top, right and bottom in pixels.
    """

    file: str
    labels: tuple[str, ...]
    are_classes: bool
    separator: str | None
    split: str | None
    box: tuple[str, ...]

    @classmethod
    def of(
        cls, table: Table, file: str | None, label: str | list[str] | None, separator: str | None, split: str
    ) -> Columns:
        """Find the columns of `table`: those of these names, for None one of a usual name; raises `InputError`."""
        files = _chosen(table, file, FILES, "data.file_column", "names of files")
        columns = table.by_lower_case
        box = next((names for names in BOXES if all(name in columns for name in names)), ())
        if isinstance(label, list):
            labels = tuple(_named(table, name, "data.label_column") for name in label)
        else:
            labels = (_chosen(table, label, LABELS, "data.label_column", "labels"),)
        return cls(
            files,
            labels,
            isinstance(label, list),
            separator,
            split if split in table.columns else None,
            tuple(columns[name] for name in box),
        )


def file_of(row: Row, columns: Columns) -> str:
    """The name of the row's file; raises `InputError`."""
    name = _text(row.cells.get(columns.file), row, columns.file)
    if not name:
        raise InputError(f"{row.where}: {columns.file} is empty; accepted: the name of a file")
    return name


def labels_of(row: Row, columns: Columns) -> list[str] | str:
    """The labels of a row: a list where it may have any number, else its only one; raises `InputError`."""
    if columns.are_classes:
        return [unescaped(name) for name in columns.labels if _flag(row, name)]
    (name,) = columns.labels
    value = row.cells.get(name)
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        value = _listed(value)
    if isinstance(value, list):
        return [_label(part, row, name) for part in dict.fromkeys(value)]
    text = _text(value, row, name)
    if columns.separator is None:
        return _label(text, row, name)
    return list(dict.fromkeys(_label(part, row, name) for part in text.split(columns.separator) if part.strip()))


def box_of(row: Row, columns: Columns) -> list[float] | None:
    """The box of a row, left, top, right and bottom in pixels; None if all its cells are empty; raises `InputError`."""
    if not any(_text(row.cells.get(name), row, name) for name in columns.box):
        return None
    return [_number(row, name) for name in columns.box]


def _chosen(table: Table, given: str | None, usual: Sequence[str], setting: str, content: str) -> str:
    if given is not None:
        return _named(table, given, setting)
    columns = table.by_lower_case
    for name in usual:
        if name in columns:
            return columns[name]
    raise InputError(
        f"{table.path}: no column is called {usual[0]}, {usual[1]} or alike; {setting}=NAME says which has the "
        f"{content}; accepted: {', '.join(table.columns)}"
    )


def _named(table: Table, name: str, setting: str) -> str:
    if name not in table.columns:
        accepted = f"{closest(name, table.columns)}accepted: {', '.join(table.columns)}"
        raise InputError(f"{setting}={name}: no column of {table.path}; {accepted}")
    return name


def _label(value: Any, row: Row, column: str) -> str:
    text = _text(value, row, column).strip()
    if not text:
        raise InputError(f"{row.where}: {column} is empty; accepted: a class")
    return unescaped(text)


def _text(value: Any, row: Row, column: str) -> str:
    """A cell as text: numbers as whole ones where they are, as a column with gaps has 1.0 for 1."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise InputError(f"{row.where}: {column} is a {type(value).__name__}; accepted: a text or number")
    return str(value)


def _listed(text: str) -> list[Any] | str:
    """The list that a cell of a CSV has as text, such as `["cat", "dog"]` or `['cat', 'dog']`; else the text."""
    for form in (text, text.replace("'", '"')):
        try:
            return list(json.loads(form))
        except ValueError:
            continue
    return text


def _flag(row: Row, column: str) -> bool:
    text = _text(row.cells.get(column), row, column).strip().lower()
    if text not in ("0", "1", "true", "false", ""):
        raise InputError(f"{row.where}: {column}={text}; accepted: 0 or 1, as each column is a class")
    return text in ("1", "true")


def _number(row: Row, column: str) -> float:
    try:
        number = float(row.cells.get(column, ""))
    except (TypeError, ValueError):
        raise InputError(f"{row.where}: {column}={row.cells.get(column)!r}; accepted: a number of pixels") from None
    return number

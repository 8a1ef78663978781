"""The rows of a table: CSV, JSON lines, JSON or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cifar.files.safe_io import LIMIT, refusing
from cifar.files.tree import ParquetImages, TreePath
from cifar.runtime.errors import InputError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
ACCEPTED = "a table as CSV, JSON lines or Parquet, in UTF-8, with a row for each image"
DELIMITERS = (",", ";", "\t")
MAX_COLUMNS = 10_000


class Row(NamedTuple):
    """The cells of a row by column; `where` says where it is in its file."""

    where: str
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """The rows of the file at `path`, and the names of all its columns, in the order of the file."""

    path: TreePath
    columns: tuple[str, ...]
    rows: list[Row]

    @property
    def by_lower_case(self) -> dict[str, str]:
        """The name of each column by its name in lower case, the first of several that are alike."""
        return {name.lower(): name for name in reversed(self.columns)}


def read_table(path: TreePath) -> Table:
    """Read a table; raises `InputError` for a file that is none, with the line or row."""
    read = {".parquet": _parquet, ".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json}
    with refusing(path, ACCEPTED):
        rows = [Row(f"{path}: {where}", cells) for where, cells in read.get(path.suffix.lower(), _csv)(path)]
    columns = tuple(dict.fromkeys(column for row in rows for column in row.cells))
    if not rows:
        raise InputError(f"{path}: has no rows; accepted: {ACCEPTED}")
    if len(columns) > MAX_COLUMNS:
        raise InputError(f"{path}: {len(columns)} columns; accepted: at most {MAX_COLUMNS}")
    return Table(path, columns, rows)


def _csv(path: TreePath) -> Iterator[tuple[str, dict[str, str]]]:
    text = io.StringIO(path.read().decode("utf-8-sig"), newline="")
    first = text.readline()
    text.seek(0)
    rows = csv.reader(text, delimiter=max(DELIMITERS, key=first.count), strict=True)
    header = [name.strip() for name in next(rows, [])]
    for name in header:
        if not name or header.count(name) > 1:
            raise InputError(f"{path}: line 1: column {name!r} has no name of its own; accepted: different names")
    for cells in rows:
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise InputError(f"{path}: line {rows.line_num}: {len(cells)} cells; accepted: {len(header)}, one a column")
        yield f"line {rows.line_num}", dict(zip(header, cells, strict=True))


def _json_lines(path: TreePath) -> Iterator[tuple[str, dict[str, Any]]]:
    lines = path.read().decode("utf-8-sig").split("\n")
    yield from _records(
        path, "line", ((number, json.loads(line)) for number, line in enumerate(lines, 1) if line.strip())
    )


def _json(path: TreePath) -> Iterator[tuple[str, dict[str, Any]]]:
    content = json.loads(path.read().decode("utf-8-sig"))
    if not isinstance(content, list):
        raise InputError(f"{path}: is no list of rows; accepted: a list of objects")
    yield from _records(path, "entry", enumerate(content, 1))


def _records(path: TreePath, unit: str, found: Iterable[tuple[int, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, record in found:
        if not isinstance(record, dict):
            raise InputError(f"{path}: {unit} {number}: is no object; accepted: names of columns with their values")
        yield f"{unit} {number}", record


def _parquet(path: TreePath) -> Iterator[tuple[str, dict[str, Any]]]:
    from pyarrow import parquet

    file = parquet.ParquetFile(path.open())
    images = [field.name for field in file.schema_arrow if _has_bytes(field.type)]
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] not in images)
    if size > LIMIT:
        raise ValueError(f"more than {LIMIT} bytes")
    names = _class_names(file.schema_arrow.metadata or {}) if images else {}
    if isinstance(path.tree, ParquetImages):
        for column in images:
            path.tree.add(path.path, file, column)
    rows = file.read(columns=[name for name in file.schema_arrow.names if name not in images]).to_pylist()
    for number, record in enumerate(rows, 1):
        record |= {column: _named(record[column], own) for column, own in names.items() if column in record}
        record |= {column: f"{path.name}/{column}/{number - 1}" for column in images}
        yield f"row {number}", record


def _has_bytes(kind: Any) -> bool:
    """True for Hugging Face's type of an image, a struct of `bytes` and `path`."""
    from pyarrow import types

    return types.is_struct(kind) and "bytes" in {kind.field(number).name for number in range(kind.num_fields)}


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of the classes of the columns that have numbers of them, as Hugging Face's `ClassLabel` states them."""
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    kinds = {column: feature.get("feature", feature) for column, feature in features.items()}
    return {column: kind["names"] for column, kind in kinds.items() if kind.get("_type") == "ClassLabel"}


def _named(value: Any, names: Sequence[str]) -> Any:
    """The names of a number, or of several; another value as it is."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value

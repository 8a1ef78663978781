"""The rows of a table: CSV, JSON lines, JSON or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cifar.files.safe_io import LIMIT, refusing
from cifar.files.tree import TreePath
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

    file = parquet.ParquetFile(io.BytesIO(path.read()))
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > LIMIT:
        raise ValueError(f"more than {LIMIT} bytes")
    for number, record in enumerate(file.read().to_pylist(), 1):
        yield f"row {number}", record

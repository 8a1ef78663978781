"""Images that are cells of Parquet files, such as those of Hugging Face's data sets, as files of a tree.

The bytes of a cell are read when its file is opened: row groups are read one at a time, and the last few are kept.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import threading
from typing import Any, BinaryIO

from cifar.files.safe_io import LIMIT
from cifar.files.tree.base import Tree

KEPT = 4
"""Row groups."""


class ParquetImages(Tree):
    """A tree with the images in Parquet files that have been added: `train.parquet/image/0` is that of the first row.

    Threads may read them at once.
    """

    def __init__(self, tree: Tree):
        self._tree = tree
        self.name, self.location = tree.name, tree.location
        self._columns: dict[str, _Column] = {}

    def add(self, path: str, file: Any, column: str) -> None:
        """Add the images of a `column` of `file`, a `pyarrow.parquet.ParquetFile`, which is open and that at `path`."""
        self._columns[f"{path}/{column}"] = _Column(path, file, column)

    def is_file(self, path: str) -> bool:
        return self._image(path) is not None or self._tree.is_file(path)

    def is_dir(self, path: str) -> bool:
        return self._tree.is_dir(path)

    def names(self, path: str) -> list[str]:
        return self._tree.names(path)

    def open(self, path: str) -> BinaryIO:
        found = self._image(path)
        if found is None:
            return self._tree.open(path)
        column, row = found
        return io.BytesIO(column.content(row))

    def version(self, path: str) -> str:
        found = self._image(path)
        return self._tree.version(path if found is None else found[0].path)

    def _image(self, path: str) -> tuple[_Column, int] | None:
        above, _, row = path.rpartition("/")
        column = self._columns.get(above)
        return (column, int(row)) if column is not None and row.isdecimal() else None


class _Column:
    """The images of a column, by row."""

    def __init__(self, path: str, file: Any, name: str):
        self.path, self._file, self._name = path, file, name
        counts = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        self._groups = [(number, row) for number, count in enumerate(counts) for row in range(count)]
        self._lock = threading.Lock()
        self._read = functools.lru_cache(KEPT)(self._read_group)

    def content(self, row: int) -> bytes:
        """The file in a row; raises `OSError` where there is none."""
        if row >= len(self._groups):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"row {row}")
        group, place = self._groups[row]
        with self._lock:
            content = self._read(group)[place].as_py()
        if not content:
            raise ValueError("the cell has no image")
        return content

    def _read_group(self, number: int) -> Any:
        """The bytes in the rows of a group, as an array of Arrow."""
        if (size := self._file.metadata.row_group(number).total_byte_size) > LIMIT:
            raise ValueError(f"a row group of {size} bytes; accepted: at most {LIMIT}")
        table = self._file.read_row_group(number, columns=[f"{self._name}.bytes"])
        return table.column(self._name).combine_chunks().field("bytes")

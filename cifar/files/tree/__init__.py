"""Files below a folder or in an archive, read in one way.

Nothing is extracted from an archive. Names that begin with a dot, and macOS's `__MACOSX`, are not listed.
"""

from __future__ import annotations

from pathlib import Path

from cifar.files.tree.archives import open_archive
from cifar.files.tree.base import Folder, TreePath
from cifar.files.tree.parquet import ParquetImages

__all__ = ["ParquetImages", "TreePath", "open_tree"]


def open_tree(path: str | Path) -> TreePath:
    """The folder, `.zip`, `.tar` or `.tar.gz` at `path`; raises `InputError` for another file, or a damaged one.

    Nothing is checked of a folder, which need not exist.
    """
    path = Path(path).expanduser()
    return TreePath(open_archive(path) if path.is_file() else Folder(path))

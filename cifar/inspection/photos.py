"""The photos of a data set as they are in their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cifar.data.tables.reading import SUFFIXES as TABLES
from cifar.files.tree import TreePath, open_tree
from cifar.files.tree.archives import SUFFIXES as ARCHIVES
from cifar.interfaces import Split

MAX_OPENED = 2000
"""Number of files whose headers are read."""


def description(path: str | None, splits: Iterable[Split]) -> str | None:
    """Describe the formats and sizes of the photos below `path`, of random ones if there are many.

    Returns None for a data set whose images are not in files of their own.
    """
    names = np.concatenate([split.ids for split in splits if split.ids is not None] or [np.array([], str)])
    if path is None or not len(names) or not Path(names[0]).suffix:
        return None
    chosen = np.random.default_rng(0).permutation(len(names))[:MAX_OPENED]
    root = _root(Path(path).expanduser())
    found = _headers([root / str(names[k]) for k in chosen]) if root else []
    if not found:
        return None
    sizes = np.array([size for _, size in found])
    order = np.argsort(sizes.prod(axis=1), kind="stable")
    least, middle, most = ("×".join(f"{side:,}" for side in sizes[order[k]]) for k in (0, len(order) // 2, -1))
    formats = Counter(kind for kind, _ in found)
    shown = ", ".join(f"{count:,} {kind}" for kind, count in formats.most_common())
    of = f" (of {len(found):,} of them)" if len(found) < len(names) else ""
    return f"{shown}; {least} to {most} pixels, median {middle}{of}"


def _root(path: Path) -> TreePath | None:
    """The folder or archive of the photos."""
    if path.suffix.lower() in TABLES:
        path = path.parent
    return open_tree(path) if path.is_dir() or path.name.lower().endswith(ARCHIVES) else None


def _headers(files: Sequence[TreePath]) -> list[tuple[str, tuple[int, int]]]:
    """Format and size (width, height) of the files that exist; the data set has decoded them before."""
    found = []
    for path in files:
        if path.is_file():
            with path.open() as file, Image.open(file) as image:
                found.append((str(image.format), image.size))
    return found

"""What a loader of photos returns: examples by split, not yet decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from cifar.config.schema import PositiveInt
from cifar.files.tree import TreePath
from cifar.images.io import SUFFIXES
from cifar.interfaces import Resize
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""The names of splits as those of folders, files and cells of tables."""
Size = PositiveInt | Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
"""Pixels of a square image's side, or height and width."""
Reader = Literal[1, 2]
"""Version of how photos are listed, split and decoded. Runs are evaluated with the version that they have recorded.

2: fractions are exact over all groups, copies of an image do not get into several splits, JPEG photos are decoded at a
reduced size, transparent photos are on white, more than 8 bits a channel are refused.
"""


@dataclass(frozen=True)
class Example:
    """A photo with a function that reads its annotations.

    Splits are stratified by `group`, from 0. `annotate` takes the photo's (height, width) and returns the targets that
    the data set has: `label` (), `labels` (classes,), `boxes` (k, 4), `classes` (k,), `crowd` (k,) and `mask` (height,
    width), the latter in pixels of the photo. It raises `InputError`.
    """

    photo: TreePath
    group: int
    annotate: Callable[[tuple[int, int]], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Listing:
    """The examples of the splits that a source has; a split that is `None` is cut from the training examples.

    Ids of images are paths below `root`. If `train` is `None`, the source has test images only.
    """

    name: str
    root: TreePath
    class_names: tuple[str, ...]
    train: Sequence[Example] | None = None
    val: Sequence[Example] | None = None
    test: Sequence[Example] | None = None


@dataclass(frozen=True)
class Options:
    """The settings that all data sets of photos share.

    `size` and `resize` say what photos become, boxes and masks with them. What a crop leaves out is lost; what a
    letterbox adds is black, and `VOID` in masks. Training photos are kept in `cached_size` too, as `Split.larger`. At
    most `limit` images of each given split are used. Raises `InputError` unless both sizes have the same shape.
    """

    seed: int
    size: Size
    resize: Resize
    val_fraction: float
    test_fraction: float
    limit: int | None
    reader: Reader = 2
    cached_size: Size | None = None

    def __post_init__(self):
        if self.cached_size is None:
            return
        (height, width), (tall, wide) = sides(self.size), sides(self.cached_size)
        if wide <= width or round(wide * height / width) != tall:
            raise InputError(
                f"data.cached_size={_shown(tall, wide)}: should be larger than data.size={_shown(height, width)}, and "
                f"of the same shape, such as {_shown(2 * height, 2 * width)}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return *sides(self.size), 3

    @property
    def larger(self) -> Options | None:
        """The options of `Split.larger`."""
        return replace(self, size=self.cached_size, cached_size=None) if self.cached_size else None


def sides(size: Size) -> tuple[int, int]:
    """(height, width)."""
    height, width = size if isinstance(size, list) else (size, size)
    return height, width


def _shown(height: int, width: int) -> str:
    return str(height) if height == width else f"[{height},{width}]"


def is_image(file: TreePath) -> bool:
    """True for a file whose name says that it is an image of an accepted format."""
    return file.suffix.lower() in SUFFIXES


def checked_file(path: TreePath, where: object) -> TreePath:
    """Return `path`; raises `InputError` if the file, referenced in `where`, does not exist."""
    if not path.is_file():
        raise InputError(f"{path}: no such file, referenced in {where}; accepted: existing files")
    return path

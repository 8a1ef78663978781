"""Your own images for classification: a folder for each class."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, Share
from cifar.data.photos import Example, Listing, Options, photo_dataset
from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath, open_tree
from cifar.interfaces import Dataset
from cifar.runtime.errors import InputError, did_you_mean
from cifar.runtime.lazy import np
from cifar.runtime.terminal import unescaped

ACCEPTED = "a folder with train/CLASS/*.png or *.jpg and test/CLASS/*.png or *.jpg"
SUFFIXES = (".png", ".jpg", ".jpeg")


@DATASETS.register
def folder(seed: int, *, path: str, size: PositiveInt, val_fraction: Share, limit: PositiveInt | None) -> Dataset:
    """The images in `train/CLASS/` and `test/CLASS/` of `path`, as (size, size, 3).

    The classes are the folders of `train`, sorted. An image's shorter side is resized to `size` pixels, then it is
    center-cropped. Without `train`, there are test images only, on which finished runs can be evaluated. Raises
    `InputError` for a missing folder, a class that only `test` has, and a file that is no image.
    """
    root = open_tree(path)
    has_train = not (root / "test").is_dir() or (root / "train").is_dir()
    names = [child.name for child in _folders(root / ("train" if has_train else "test"))]
    for child in _folders(root / "test"):
        if child.name not in names:
            raise InputError(f"{child}: class missing in train; {did_you_mean(child.name, names)}")
    listing = Listing(
        root.name,
        root,
        tuple(map(unescaped, names)),
        train=_examples(root / "train", names) if has_train else None,
        test=_examples(root / "test", names),
    )
    return photo_dataset(listing, Options(seed, size, "crop", val_fraction, 0.2, limit))


def _folders(parent: TreePath) -> list[TreePath]:
    with refusing(parent, ACCEPTED):
        folders = [child for child in parent.iterdir() if child.is_dir()]
    if not folders:
        raise InputError(f"{parent}: contains no class folders; accepted for data.path: {ACCEPTED}")
    return folders


def _examples(part: TreePath, names: Sequence[str]) -> list[Example]:
    return [
        Example(file, label, functools.partial(_label, np.int64(label)))
        for label, name in enumerate(names)
        if (part / name).is_dir()
        for file in (part / name).iterdir()
        if file.suffix.lower() in SUFFIXES
    ]


def _label(label: np.int64, size: tuple[int, int]) -> dict[str, np.ndarray]:
    return {"label": np.asarray(label)}

"""Your own images for classification: a folder for each class."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, Share
from cifar.data.invalid_files import OnInvalid, handling_invalid
from cifar.data.photos import SPLITS, Example, Listing, Options, Reader, Resize, Size, is_image, photo_dataset
from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath, open_tree
from cifar.interfaces import Dataset
from cifar.runtime.errors import InputError, did_you_mean, warn
from cifar.runtime.lazy import np
from cifar.runtime.terminal import first_of, unescaped

ACCEPTED = "folders CLASS/ of images, or train/CLASS/, and if they exist val/CLASS/ and test/CLASS/"
EARLIER_SUFFIXES = (".png", ".jpg", ".jpeg")
SHOWN = 5
"""Files that are named of those that are passed over."""


@DATASETS.register
def folder(
    seed: int,
    *,
    path: str,
    size: Size,
    resize: Resize = "crop",
    cached_size: Size | None = None,
    val_fraction: Share,
    test_fraction: Share = 0.2,
    limit: PositiveInt | None,
    on_invalid: OnInvalid = "error",
    reader: Reader = 1,
) -> Dataset:
    """The images in `CLASS/` of `path`, or in `train/CLASS/`, `val/CLASS/` and `test/CLASS/`, as images of `size`.

    The classes are the folders with training images, sorted; an image may be in a folder of its class's folder. With
    `test` alone, there are test images only, on which finished runs can be evaluated. Warns of files that are passed
    over. Raises `InputError` for a missing folder, and a class that has no training images. For the other settings and
    errors see `photo_dataset`.
    """
    with handling_invalid(on_invalid):
        root = open_tree(path)
        listing = _earlier_listing(root) if reader == 1 else _listing(root)
        return photo_dataset(
            listing, Options(seed, size, resize, val_fraction, test_fraction, limit, reader, cached_size)
        )


def _listing(root: TreePath) -> Listing:
    splits = _split_folders(root)
    first = splits.get("train") or splits["test"]
    names = [child.name for child in _class_folders(first)]
    passed_over = [child for child in root.iterdir() if first != root and child not in splits.values()]
    examples: dict[str, list[Example]] = {}
    for part, parent in splits.items():
        _check_names(parent, names)
        passed_over += [child for child in parent.iterdir() if not child.is_dir()]
        examples[part] = []
        for label, name in enumerate(names):
            for file in (parent / name).walk() if (parent / name).is_dir() else ():
                if is_image(file):
                    examples[part].append(_example(file, label))
                else:
                    passed_over.append(file)
    if passed_over:
        shown = first_of([unescaped(file.path) for file in passed_over], SHOWN)
        number = len(passed_over)
        what = "1 file or folder that is no image" if number == 1 else f"{number:,} files or folders that are no images"
        warn(f"{root}: ignored {what} of a class: {shown}")
    return Listing(root.name, root, tuple(map(unescaped, names)), **examples)


def _split_folders(root: TreePath) -> dict[str, TreePath]:
    """The folders of the splits; the root itself as that of the training images if there are none."""
    with refusing(root, ACCEPTED):
        children = {child.name: child for child in root.iterdir() if child.is_dir()}
    found = {}
    for part, accepted in SPLITS.items():
        names = [name for name in accepted if name in children]
        if len(names) > 1:
            raise InputError(f"{root}: contains {' and '.join(names)}; accepted: one of them")
        if names:
            found[part] = children[names[0]]
    return found if "train" in found or [*found] == ["test"] else {"train": root}


def _class_folders(parent: TreePath) -> list[TreePath]:
    with refusing(parent, ACCEPTED):
        folders = [child for child in parent.iterdir() if child.is_dir()]
    if not folders:
        raise InputError(f"{parent}: contains no class folders; accepted for data.path: {ACCEPTED}")
    return folders


def _check_names(parent: TreePath, names: Sequence[str]) -> None:
    for child in _class_folders(parent):
        if child.name not in names:
            raise InputError(f"{child}: class missing in train; {did_you_mean(child.name, names)}")


def _example(file: TreePath, label: int) -> Example:
    return Example(file, label, functools.partial(_label, np.int64(label)))


def _label(label: np.int64, size: tuple[int, int]) -> dict[str, np.ndarray]:
    return {"label": np.asarray(label)}


def _earlier_listing(root: TreePath) -> Listing:
    """The images that earlier versions read: PNG and JPEG files that are in `train/CLASS/` and `test/CLASS/`."""
    has_train = not (root / "test").is_dir() or (root / "train").is_dir()
    names = [child.name for child in _class_folders(root / ("train" if has_train else "test"))]
    examples = {
        part: [
            _example(file, label)
            for label, name in enumerate(names)
            if (root / part / name).is_dir()
            for file in (root / part / name).iterdir()
            if file.suffix.lower() in EARLIER_SUFFIXES
        ]
        for part in (("train", "test") if has_train else ("test",))
    }
    _check_names(root / "test", names)
    return Listing(root.name, root, tuple(map(unescaped, names)), **examples)

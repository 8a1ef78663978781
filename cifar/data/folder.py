"""Your own images for classification: a folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, Share
from cifar.data.invalid_files import skipping_invalid
from cifar.data.splits import assemble, subset, test_only
from cifar.files.safe_io import refusing
from cifar.images.io import read_image
from cifar.interfaces import Dataset, Split
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
    root = Path(path).expanduser()
    if (root / "test").is_dir() and not (root / "train").exists():
        folders = [child.name for child in _folders(root / "test")]
        test = _read(root / "test", folders, size, limit)
        return test_only(root.resolve().name, test, [unescaped(name) for name in folders], limit)
    folders = [child.name for child in _folders(root / "train")]
    for child in _folders(root / "test"):
        if child.name not in folders:
            raise InputError(f"{child}: class missing in train; {did_you_mean(child.name, folders)}")
    train, test = (_read(root / part, folders, size, limit) for part in ("train", "test"))
    names = [unescaped(name) for name in folders]
    return assemble(root.resolve().name, train, test, names, seed=seed, val_fraction=val_fraction, limit=limit)


def _folders(parent: Path) -> list[Path]:
    with refusing(parent, ACCEPTED):
        folders = sorted(child for child in parent.iterdir() if child.is_dir())
    if not folders:
        raise InputError(f"{parent}: contains no class folders; accepted for data.path: {ACCEPTED}")
    return folders


def _read(part: Path, folders: Sequence[str], size: int, limit: int | None) -> Split:
    """Read at most `limit` images, in the order of their paths."""
    files = [
        (file, label)
        for label, name in enumerate(folders)
        for file in sorted((part / name).glob("*"))
        if file.suffix.lower() in SUFFIXES
    ]
    labels = np.array([label for _, label in files], np.int64)
    keep = subset(labels, limit)
    images = np.empty((len(keep), size, size, 3), np.uint8)
    ids = np.array([unescaped(str(files[position][0].relative_to(part.parent))) for position in keep], str)
    valid = []
    for row, position in enumerate(keep):
        with skipping_invalid():
            images[row] = read_image(files[position][0], (size, size, 3))
            valid.append(row)
    split = Split(images, {"label": labels[keep]}, ids)
    return split if len(valid) == len(split) else split.take(np.array(valid, np.int64))

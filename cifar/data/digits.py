"""The handwritten digits included in scikit-learn; no download needed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, Share
from cifar.data.splits import assemble, numbered, stratified_split
from cifar.interfaces import Dataset, Split
from cifar.runtime.lazy import np


@DATASETS.register
def digits(seed: int, *, test_fraction: Share, val_fraction: Share, limit: PositiveInt | None) -> Dataset:
    """1,797 gray images (8, 8, 1) of the digits 0 to 9; their 17 levels are scaled to 0 to 255.

    The test split is `test_fraction` of each class, the same for every seed. Source: Alpaydin and Kaynak, "Optical
    Recognition of Handwritten Digits", 1998, https://doi.org/10.24432/C50P49. Raises `InputError` if a class of a
    split would be empty.
    """
    table = np.loadtxt(_file(), np.int64, delimiter=",")
    pixels, labels = table[:, :-1], table[:, -1]
    images = np.round(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    source = Split(images, {"label": labels}, numbered("digit", len(images)))
    class_names = tuple("0123456789")
    rest, cut = stratified_split(labels, test_fraction, 0, class_names, "data.test_fraction")
    return assemble("digits", source.take(rest), source.take(cut), class_names, seed=seed, val_fraction=val_fraction,
                    limit=limit)  # fmt: skip


def _file() -> Path:
    """The file that scikit-learn's `load_digits` reads; to import scikit-learn takes more than a second."""
    package = find_spec("sklearn")
    assert package and package.origin
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"

"""Checks of labels, stratified splits, and assembly of a `Dataset`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cifar.interfaces import Dataset, Split
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np


def numbered(part: str, count: int) -> np.ndarray:
    """Return the `Split.ids` of images without file names, in the order of their source: `train/0`, `train/1`, …"""
    return np.array([f"{part}/{number}" for number in range(count)])


def checked_labels(labels: np.ndarray, images: int, classes: int, where: object) -> np.ndarray:
    """Return `labels` as int64 (n,).

    Raises `InputError` about `where` unless there is one for each of `images` images, from 0 to `classes` - 1.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{where}: labels are {labels.dtype} {labels.shape}; accepted: integers of shape (n,)")
    if len(labels) != images:
        raise InputError(f"{where}: {images} images but {len(labels)} labels; accepted: one label per image")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise InputError(
            f"{where}: label {labels[wrong[0]]} of image {wrong[0]} is out of range; accepted: 0 to {classes - 1}"
        )
    return labels.astype(np.int64)


def assemble(
    name: str,
    train: Split,
    test: Split,
    class_names: Sequence[str],
    *,
    seed: int,
    val_fraction: float,
    limit: int | None,
) -> Dataset:
    """Assemble a `Dataset`; `val_fraction` of the training images become the validation split, chosen by `seed`.

    `limit` bounds the number of training images (before the split) and of test images: see `subset`. Raises
    `InputError` if the test split, or a class of the training or validation split, would be empty.
    """
    if not len(test):
        raise InputError(f"data.name={name}: no test images; accepted: at least one")
    keep = subset(train.targets["label"], limit)
    rest, cut = stratified_split(train.targets["label"][keep], val_fraction, seed, class_names, "data.val_fraction")
    shown = subset(test.targets["label"], limit)
    return Dataset(name, train.take(keep[rest]), train.take(keep[cut]), test.take(shown), tuple(class_names))


def test_only(name: str, test: Split, class_names: Sequence[str], limit: int | None) -> Dataset:
    """Assemble a `Dataset` of at most `limit` test images, for finished runs: it has no others."""
    none = test.take(np.arange(0))
    return Dataset(name, none, none, test.take(subset(test.targets["label"], limit)), tuple(class_names))


def strata(split: Split) -> np.ndarray:
    """Return the group of each image, int64 (n,), whose share is the same in each part of a stratified split."""
    if "label" in split.targets:
        return split.targets["label"]
    if "labels" in split.targets:
        return rarest_class(split.targets["labels"])
    return np.zeros(len(split), np.int64)


def rarest_class(labels: np.ndarray) -> np.ndarray:
    """Return for each image its class that the fewest images have, int64 (n,), given `labels` bool (n, classes).

    It is the number of classes for an image without any. Splits stratified by it keep the proportion of rare classes,
    like iterative stratification, which distributes rare classes first (Sechidis et al., "On the Stratification of
    Multi-Label Data", 2011).
    """
    rank = np.where(labels, labels.sum(axis=0), len(labels) + 1)
    return np.where(labels.any(axis=1), rank.argmin(axis=1), labels.shape[1])


def subset(labels: np.ndarray, limit: int | None) -> np.ndarray:
    """Return sorted positions of at most `limit` images; all for None.

    Takes the first images of each class, the same share of each. A smaller subset is contained in a larger one.
    """
    if limit is None:
        return np.arange(len(labels))
    share = (rank_in_class(labels, np.arange(len(labels))) + 0.5) / np.bincount(labels)[labels]
    return np.sort(np.argsort(share, kind="stable")[:limit])


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int, class_names: Sequence[str], setting: str
) -> tuple[np.ndarray, np.ndarray]:
    """Split off `fraction` of each class, rounded to whole images; return sorted positions of the rest and that part.

    The choice depends on `seed` alone and is the same on every machine and version of NumPy: raw PCG64 numbers are the
    only random numbers that NumPy guarantees never to change. Raises `InputError` naming `setting` if a class would
    have no image in one of the parts.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    smallest = int(counts.argmin())
    if counts[smallest] < 2:
        raise InputError(
            f"{setting}={fraction}: class {class_names[smallest]!r} has {counts[smallest]} images to split; "
            f"accepted: at least 2 of each class (see data.limit)"
        )
    taken = _taken(counts, fraction)
    if (taken == 0).any() or (taken == counts).any():
        least = math.ceil(5000 / counts[smallest]) / 10000
        raise InputError(
            f"{setting}={fraction}: leaves one part of class {class_names[smallest]!r}, which has "
            f"{counts[smallest]} images, empty; accepted: {least} to {1 - least:.4g}"
        )
    return proportional_split(labels, fraction, seed)


def proportional_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split like `stratified_split`, but allow classes with few images to be missing in one of the parts."""
    taken = _taken(np.bincount(labels), fraction)
    is_cut = rank_in_class(labels, np.random.PCG64(seed).random_raw(len(labels))) < taken[labels]
    return np.flatnonzero(~is_cut), np.flatnonzero(is_cut)


def _taken(counts: np.ndarray, fraction: float) -> np.ndarray:
    """Number of images of each class that are split off."""
    return np.floor(counts * fraction + 0.5).astype(np.int64)


def rank_in_class(labels: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Rank of each image, from 0, among those of its class in the order of `key`."""
    order = np.lexsort((key, labels))
    counts = np.bincount(labels)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank

"""K-fold cross-validation: a part of the training images that is another one in each fold."""

from __future__ import annotations

from dataclasses import replace

from cifar.data.splits import rank_in_class, strata
from cifar.files.rows import ImageRows
from cifar.interfaces import Dataset, Split
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

PADDING = {"boxes": 0, "classes": -1, "crowd": False}
"""The targets of objects, of which images have different numbers, and what fills them up."""


def check(folds: int | None, fold: int | None) -> None:
    """Raises `InputError` unless `fold` is the number of one of `folds` parts, or both are `None`."""
    if folds is None and fold is not None:
        raise InputError(f"data.fold={fold}: needs data.folds, the number of folds")
    if folds is not None and (fold is None or fold >= folds):
        numbers = ",".join(map(str, range(folds)))
        given = f"data.folds={folds}" if fold is None else f"data.fold={fold}"
        raise InputError(f"{given}: accepted for data.fold: 0 to {folds - 1}; --multirun data.fold={numbers} runs all")


def cut(dataset: Dataset, folds: int, fold: int, seed: int) -> Dataset:
    """`dataset`, its training and validation images split again: part `fold` of `folds` becomes the validation split.

    The parts are of equal size but for one image, and so are the images of each class in them. `seed` chooses them, as
    it chooses the images in `splits.stratified_split`. Raises `InputError` if a class has fewer images than folds.
    """
    images = joined(dataset.train, dataset.val)
    labels = strata(images)
    counts = np.bincount(labels)
    if (smallest := int(counts[counts > 0].min())) < folds:
        raise InputError(f"data.folds={folds}: a class has {smallest} images; accepted: 2 to {smallest}")
    rank = rank_in_class(labels, np.random.PCG64(seed).random_raw(len(images)))
    part = (rank + (np.cumsum(counts) - counts)[labels]) % folds  # the next class begins where the last has ended
    return replace(
        dataset, train=images.take(np.flatnonzero(part != fold)), val=images.take(np.flatnonzero(part == fold))
    )


def joined(first: Split, second: Split) -> Split:
    """The images of both, those of the first before those of the second."""
    targets = {}
    for name, target in first.targets.items():
        both = [target, second.targets[name]]
        if name in PADDING:
            longest = max(part.shape[1] for part in both)
            both = [_padded(part, longest, PADDING[name]) for part in both]
        targets[name] = np.concatenate(both)
    ids = None if first.ids is None or second.ids is None else np.concatenate([first.ids, second.ids])
    if isinstance(first.images, ImageRows) and isinstance(second.images, ImageRows):
        larger = first.larger and second.larger and ImageRows.joined(first.larger, second.larger)
        return Split(ImageRows.joined(first.images, second.images), targets, ids, larger)
    return Split(np.concatenate([first.images, second.images]), targets, ids)


def _padded(target: np.ndarray, longest: int, value: float) -> np.ndarray:
    """`target` (n, m, …) as (n, `longest`, …)."""
    padded = np.full((len(target), longest, *target.shape[2:]), value, target.dtype)
    padded[:, : target.shape[1]] = target
    return padded

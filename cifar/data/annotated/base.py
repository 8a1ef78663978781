"""Annotated photos of any size: checks, letterboxing to one size, splits."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cifar.data.invalid_files import skipping_invalid
from cifar.data.splits import proportional_split, subset
from cifar.images.io import read_photo
from cifar.interfaces import VOID, Dataset, Split, aligned_empty
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np
from cifar.runtime.terminal import unescaped


@dataclass(frozen=True)
class Example:
    """A photo with a function that reads its annotations.

    Splits are stratified by `group`, from 0. `annotate` takes the photo's (height, width) and returns the targets that
    the data set has: `boxes` (k, 4), `classes` (k,), `crowd` (k,), `mask` (height, width), in pixels of the photo. It
    raises `InputError`.
    """

    photo: Path
    group: int
    annotate: Callable[[tuple[int, int]], Mapping[str, np.ndarray]]


def annotated(
    name: str,
    root: Path,
    train: Sequence[Example],
    val: Sequence[Example] | None,
    test: Sequence[Example],
    class_names: Sequence[str],
    *,
    seed: int,
    size: int,
    val_fraction: float,
    limit: int | None,
) -> Dataset:
    """Read photos letterboxed to (size, size, 3): black around the photo, `VOID` in masks.

    If `val` is None, `val_fraction` of each group of `train`, rounded to whole images, becomes the validation split. At
    most `limit` images of each given split are used. Ids are paths of photos below `root`. Raises `InputError`, also if
    a split would be empty.
    """
    train, test = _limited(train, limit), _limited(test, limit)
    if val is None:
        train, val = split_off(train, val_fraction, seed, "data.val_fraction")
    else:
        val = _limited(val, limit)
    for part, examples in (("training", train), ("validation", val), ("test", test)):
        if not examples:
            raise InputError(f"data.name={name}: no {part} images; accepted: at least one")
    return Dataset(name, _read(train, root, size), _read(val, root, size), _read(test, root, size), tuple(class_names))


def split_off(
    examples: Sequence[Example], fraction: float, seed: int, setting: str
) -> tuple[list[Example], list[Example]]:
    """Split off `fraction` of each group; raises `InputError` naming `setting` if a part is empty."""
    rest, taken = proportional_split(np.array([example.group for example in examples], np.int64), fraction, seed)
    if not len(rest) or not len(taken):
        raise InputError(
            f"{setting}={fraction}: splits {len(examples)} images into {len(rest)} and {len(taken)}; "
            f"accepted: at least one image in both parts"
        )
    return [examples[k] for k in rest], [examples[k] for k in taken]


def rarest(classes: Sequence[np.ndarray], count: int) -> list[int]:
    """Return for each image the class that occurs in the fewest images; `count` for an image without objects.

    Splits stratified by it keep the proportion of rare classes, like iterative stratification, which distributes rare
    classes first (Sechidis et al., "On the Stratification of Multi-Label Data", 2011).
    """
    present = np.zeros((len(classes), count), bool)
    for row, labels in enumerate(classes):
        present[row, labels] = True
    rank = np.where(present, present.sum(axis=0), len(classes) + 1)
    return np.where(present.any(axis=1), rank.argmin(axis=1), count).tolist()


def checked_classes(names: Sequence[str], where: object) -> tuple[str, ...]:
    """Check `names` of classes; raises `InputError` about `where` for none, too many, an empty or a repeated name."""
    if not 1 <= len(names) <= 254:
        raise InputError(f"{where}: {len(names)} classes; accepted: 1 to 254")
    for name in names:
        if not name.strip() or names.count(name) > 1:
            raise InputError(f"{where}: class {name!r} is empty or repeated; accepted: unique names")
    return tuple(map(unescaped, names))


def mask_values(class_names: Sequence[str]) -> list[int]:
    """Return the valid values of a mask: background, classes, `VOID`."""
    return [*range(len(class_names) + 1), VOID]


def checked_box(box: Sequence[float], size: tuple[int, int], where: object) -> list[float]:
    """Check a box (left, top, right, bottom) of a photo of `size` (height, width) and clip it by at most one pixel.

    Raises `InputError` about `where` for a box without area, or more than one pixel outside of the photo.
    """
    shown = f"box {', '.join(f'{edge:g}' for edge in box)} (left, top, right, bottom)"
    if not all(map(math.isfinite, box)):
        raise InputError(f"{where}: {shown} is not finite; accepted: four finite numbers")
    height, width = size
    left, top, right, bottom = box
    if min(left, top) < -1 or right > width + 1 or bottom > height + 1:
        raise InputError(
            f"{where}: {shown} exceeds the image of {width}×{height} pixels; accepted: by at most one pixel"
        )
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if right <= left or bottom <= top:
        raise InputError(f"{where}: {shown} has no area; accepted: right > left and bottom > top")
    return [left, top, right, bottom]


def check_size(actual: tuple[int, ...], stated: tuple[int, ...], path: object, where: object) -> None:
    """Raise `InputError` if the `actual` (height, width) of the file at `path` is not that `stated` in `where`."""
    if actual != stated:
        raise InputError(
            f"{path}: has {actual[1]}×{actual[0]} pixels, but {where} has {stated[1]}×{stated[0]}; "
            f"accepted: the same size"
        )


def checked_mask(mask: np.ndarray, size: tuple[int, int], values: Sequence[int], where: object) -> np.ndarray:
    """Return `mask`; raises `InputError` about `where` unless it has this `size` and these `values` only."""
    check_size(mask.shape, size, where, "its photo")
    wrong = ~np.isin(mask, values)
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        raise InputError(f"{where}: value {mask[y, x]} at x={x}, y={y}; accepted: {', '.join(map(str, values))}")
    return mask


def checked_file(path: Path, where: object) -> Path:
    """Return `path`; raises `InputError` if the file, referenced in `where`, does not exist."""
    if not path.is_file():
        raise InputError(f"{path}: no such file, referenced in {where}; accepted: existing files")
    return path


def _limited(examples: Sequence[Example], limit: int | None) -> Sequence[Example]:
    return [examples[k] for k in subset(np.array([example.group for example in examples], np.int64), limit)]


def _read(examples: Sequence[Example], root: Path, size: int) -> Split:
    shape = (size, size, 3)
    images = aligned_empty(len(examples) * size * size * 3).reshape(len(examples), *shape)
    collected: dict[str, list[np.ndarray]] = {}
    ids: list[str] = []
    for example in examples:
        with skipping_invalid():
            _, images[len(ids)], position = read_photo(example.photo, shape)
            annotations = example.annotate(position.size)
            ids.append(unescaped(os.path.relpath(example.photo, root)))
            for name, target in annotations.items():
                if name == "boxes":
                    target = position.boxes_to_image(target)
                elif name == "mask":
                    target = position.mask_to_image(target, shape)
                collected.setdefault(name, []).append(target)
    padding = {"boxes": (np.float32, 0), "classes": (np.int64, -1), "crowd": (bool, False)}
    targets = {name: _padded(arrays, *padding[name]) if name in padding else np.stack(arrays)
               for name, arrays in collected.items()}  # fmt: skip
    if not ids:
        raise InputError(f"{root}: no image of {len(examples)} is valid; accepted: at least one in each split")
    return Split(images[: len(ids)], targets, np.array(ids))


def _padded(arrays: Sequence[np.ndarray], dtype: type, value: float) -> np.ndarray:
    """Stack arrays (k, …) of different k to one (n, m, …), padded with `value`; m is at least 1."""
    longest = max(1, *map(len, arrays))
    padded = np.full((len(arrays), longest, *arrays[0].shape[1:]), value, dtype)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return padded

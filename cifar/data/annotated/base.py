"""Photos of any size with what is on them: checked, brought to one size, cut into splits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cifar.data.splits import proportional_cut, subset
from cifar.images.io import read_photo
from cifar.interfaces import VOID, Dataset, Split, aligned_empty
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np
from cifar.runtime.terminal import unescaped


@dataclass(frozen=True)
class Example:
    """A photo that is not read yet.

    `group` is what splits are stratified by, from 0. `annotate` takes the photo's (height, width) and gives the targets
    `boxes` (k, 4), `classes` (k,), `crowd` (k,) and `mask` (height, width), or those of them that the data set has, in
    the photo's pixels; it raises `InputError`.
    """

    photo: Path
    group: int
    annotate: Callable[[tuple[int, int]], Mapping[str, np.ndarray]]


def annotated(
    name: str,
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
    """The photos, each whole and in its proportions in an image (size, size, 3), black around it and void in masks.

    Without `val`, it is cut from `train`: of each group `val_fraction`, rounded to whole images. At most `limit` images
    of each of the three, before that cut, are read. Raises `InputError`, also where a split would be empty.
    """
    train, test = _limited(train, limit), _limited(test, limit)
    if val is None:
        train, val = cut(train, val_fraction, seed, "data.val_fraction")
    else:
        val = _limited(val, limit)
    for part, examples in (("training", train), ("validation", val), ("test", test)):
        if not examples:
            raise InputError(f"data.name={name}: the source holds no {part} images; accepted: at least one")
    return Dataset(name, *(_read(examples, size) for examples in (train, val, test)), tuple(class_names))


def cut(examples: Sequence[Example], fraction: float, seed: int, setting: str) -> tuple[list[Example], list[Example]]:
    """The rest and what is cut, `fraction` of each group; raises `InputError` naming `setting` where one is empty."""
    rest, taken = proportional_cut(np.array([example.group for example in examples], np.int64), fraction, seed)
    if not len(rest) or not len(taken):
        raise InputError(
            f"{setting}={fraction}: leaves {len(rest)} and {len(taken)} of {len(examples)} images; "
            f"accepted: what leaves some in both parts"
        )
    return [examples[k] for k in rest], [examples[k] for k in taken]


def rarest(classes: Sequence[np.ndarray], count: int) -> list[int]:
    """Of each image the class that the fewest images show, `count` for an image that shows none.

    Cut by these, splits keep the proportion of rare classes, after the order in which iterative stratification deals
    classes out (Sechidis et al., "On the Stratification of Multi-Label Data", 2011).
    """
    shown = np.zeros((len(classes), count), bool)
    for row, found in enumerate(classes):
        shown[row, found] = True
    rank = np.where(shown, shown.sum(axis=0), len(classes) + 1)
    return np.where(shown.any(axis=1), rank.argmin(axis=1), count).tolist()


def checked_classes(names: Sequence[str], where: object) -> tuple[str, ...]:
    """`names` of classes; raises `InputError` about `where` for none, too many, an empty or a repeated one."""
    if not 1 <= len(names) <= 254:
        raise InputError(f"{where}: {len(names)} classes; accepted: 1 to 254")
    for name in names:
        if not name.strip() or names.count(name) > 1:
            raise InputError(f"{where}: class {name!r} is empty or comes twice; accepted: names that differ")
    return tuple(map(unescaped, names))


def mask_values(class_names: Sequence[str]) -> list[int]:
    """What pixels of a mask may be: background, the classes, void."""
    return [*range(len(class_names) + 1), VOID]


def checked_box(box: Sequence[float], size: tuple[int, int], where: object) -> list[float]:
    """A box (left, top, right, bottom) within a photo of `size` (height, width); what sticks out by a pixel is clipped.

    Raises `InputError` about `where` for one that has no area or sticks out by more.
    """
    shown = f"box {', '.join(f'{place:g}' for place in box)} (left, top, right, bottom)"
    if not all(map(math.isfinite, box)):
        raise InputError(f"{where}: {shown} is not of numbers; accepted: four finite numbers")
    height, width = size
    left, top, right, bottom = box
    if min(left, top) < -1 or right > width + 1 or bottom > height + 1:
        raise InputError(
            f"{where}: {shown} sticks out of the image of {width}×{height} pixels; accepted: by one pixel at most"
        )
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if right <= left or bottom <= top:
        raise InputError(f"{where}: {shown} has no area; accepted: right and bottom that are greater than left and top")
    return [left, top, right, bottom]


def check_size(found: tuple[int, ...], stated: tuple[int, ...], path: object, where: object) -> None:
    """Raises `InputError` where the (height, width) of the file at `path` is not what is `stated` about it `where`."""
    if found != stated:
        raise InputError(
            f"{path}: has {found[1]}×{found[0]} pixels, not {stated[1]}×{stated[0]} as {where} has it; "
            f"accepted: the same size"
        )


def checked_mask(mask: np.ndarray, size: tuple[int, int], values: Sequence[int], where: object) -> np.ndarray:
    """`mask` if it is of `size` and of these `values`; raises `InputError` about `where` otherwise."""
    check_size(mask.shape, size, where, "its photo")
    wrong = ~np.isin(mask, values)
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        raise InputError(f"{where}: value {mask[y, x]} at x={x}, y={y}; accepted: {', '.join(map(str, values))}")
    return mask


def checked_file(path: Path, where: object) -> Path:
    """`path`; raises `InputError` where there is no such file, which is asked for `where`."""
    if not path.is_file():
        raise InputError(f"{path}: no such file, which {where} asks for; accepted: files that are there")
    return path


def _limited(examples: Sequence[Example], limit: int | None) -> Sequence[Example]:
    return [examples[k] for k in subset(np.array([example.group for example in examples], np.int64), limit)]


def _read(examples: Sequence[Example], size: int) -> Split:
    shape = (size, size, 3)
    images = aligned_empty(len(examples) * size * size * 3).reshape(len(examples), *shape)
    found: dict[str, list[np.ndarray]] = {}
    for row, example in enumerate(examples):
        _, images[row], position = read_photo(example.photo, shape)
        for name, target in example.annotate(position.size).items():
            if name == "boxes":
                target = position.boxes_to_image(target)
            elif name == "mask":
                target = position.mask_to_image(target, shape)
            found.setdefault(name, []).append(target)
    padding = {"boxes": (np.float32, 0), "classes": (np.int64, -1), "crowd": (bool, False)}
    targets = {name: _padded(arrays, *padding[name]) if name in padding else np.stack(arrays)
               for name, arrays in found.items()}  # fmt: skip
    return Split(images, targets)


def _padded(arrays: Sequence[np.ndarray], dtype: type, value: float) -> np.ndarray:
    """Arrays (k, …) of differing k as one (n, m, …), m at least 1."""
    most = max(1, *map(len, arrays))
    padded = np.full((len(arrays), most, *arrays[0].shape[1:]), value, dtype)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return padded

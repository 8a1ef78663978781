"""Checks of annotations, and groups by which splits are stratified."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cifar.data.splits import rarest_class
from cifar.interfaces import VOID
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np
from cifar.runtime.terminal import unescaped


def rarest(classes: Sequence[np.ndarray], count: int) -> list[int]:
    """Return for each image the class that occurs in the fewest images; `count` for an image without objects."""
    present = np.zeros((len(classes), count), bool)
    for row, labels in enumerate(classes):
        present[row, labels] = True
    return rarest_class(present).tolist()


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

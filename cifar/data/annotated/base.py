"""Checks of annotations, and groups by which splits are stratified."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from cifar.data.invalid_files import clip
from cifar.data.splits import rarest_class
from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath
from cifar.images.io import is_sideways, open_image, upright_size
from cifar.interfaces import VOID
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np
from cifar.runtime.terminal import unescaped

MAX_MASKED = VOID - 1
"""Number of classes that a mask can have."""


def rarest(classes: Sequence[np.ndarray], count: int) -> list[int]:
    """Return for each image the class that occurs in the fewest images; `count` for an image without objects."""
    present = np.zeros((len(classes), count), bool)
    for row, labels in enumerate(classes):
        present[row, labels] = True
    return rarest_class(present).tolist()


def checked_classes(names: Sequence[str], where: object, masks: bool = True) -> tuple[str, ...]:
    """Check `names` of classes; raises `InputError` about `where` for none, an empty or a repeated name.

    Also for more than the values of `masks` can tell apart.
    """
    if not names or (masks and len(names) > MAX_MASKED):
        raise InputError(f"{where}: {len(names)} classes; accepted: 1 to {MAX_MASKED}{'' if masks else ', or more'}")
    counts = Counter(names)
    for name in names:
        if not name.strip() or counts[name] > 1:
            raise InputError(f"{where}: class {name!r} is empty or repeated; accepted: unique names")
    return tuple(map(unescaped, names))


def mask_values(class_names: Sequence[str]) -> list[int]:
    """Return the valid values of a mask: background, classes, `VOID`."""
    return [*range(len(class_names) + 1), VOID]


def checked_box(box: Sequence[float], size: tuple[int, int], where: str) -> list[float]:
    """Check a box (left, top, right, bottom) of a photo of `size` (height, width) and clip it.

    Raises `InputError` about `where` for a box without area, or more than one pixel outside of the photo unless
    it may be clipped.
    """
    shown = f"box {', '.join(f'{edge:g}' for edge in box)} (left, top, right, bottom)"
    if not all(map(math.isfinite, box)):
        raise InputError(f"{where}: {shown} is not finite; accepted: four finite numbers")
    height, width = size
    left, top, right, bottom = box
    inside = [max(left, 0), max(top, 0), min(right, width), min(bottom, height)]
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        outside = right > left and bottom > top
        raise InputError(
            f"{where}: {shown} is outside the image of {width}×{height} pixels; accepted: boxes in it"
            if outside
            else f"{where}: {shown} has no area; accepted: right > left and bottom > top"
        )
    if min(left, top) < -1 or right > width + 1 or bottom > height + 1:
        exceeds = f"{where}: {shown} exceeds the image of {width}×{height} pixels"
        clip("box", f"{exceeds}; accepted: by at most one pixel")
    return inside


def object_targets(
    boxes: Sequence[Sequence[float]], labels: Sequence[int], crowd: Sequence[bool]
) -> dict[str, np.ndarray]:
    """The targets `boxes`, `classes` and `crowd` of a photo's objects."""
    return {
        "boxes": np.array(boxes, np.float64).reshape(-1, 4),
        "classes": np.array(labels, np.int64),
        "crowd": np.array(crowd, bool),
    }


def check_size(size: tuple[int, ...], stated: tuple[int, ...], photo: TreePath, where: object) -> None:
    """Raise `InputError` if the (height, width) of a decoded photo is not that `stated` in `where`."""
    if size == stated:
        return
    height, width = stated
    reason = f"{photo}: has {size[1]}×{size[0]} pixels, but {where} has {width}×{height}; accepted: the same size"
    if size[::-1] == stated and is_turned(photo):
        reason = (
            f"{photo}: has {size[1]}×{size[0]} pixels when it is turned as its EXIF orientation says, but {where} has "
            f"{width}×{height}, as it is stored; accepted: annotations of the turned photo, or photos without this tag"
        )
    raise InputError(reason)


def checked_mask(
    mask: np.ndarray, size: tuple[int, int], values: Sequence[int], photo: TreePath, where: object
) -> np.ndarray:
    """Return `mask`; raises `InputError` about `where` unless it has its photo's `size` and these `values` only."""
    check_size(size, mask.shape, photo, where)
    valid = np.zeros(256, bool)
    valid[list(values)] = True
    if not valid[mask].all():
        y, x = np.argwhere(~valid[mask])[0]
        raise InputError(f"{where}: value {mask[y, x]} at x={x}, y={y}; accepted: {', '.join(map(str, values))}")
    return mask


def is_turned(photo: TreePath) -> bool:
    """True for a photo whose EXIF orientation exchanges its sides."""
    with refusing(photo, "a photo"), photo.open() as file, open_image(file, photo) as image:
        return is_sideways(image)


def photo_size(photo: TreePath) -> tuple[int, int]:
    """Return (height, width) of a photo turned as its EXIF orientation says, from its header; raises `InputError`."""
    with refusing(photo, "a photo"), photo.open() as file, open_image(file, photo) as image:
        return upright_size(image)

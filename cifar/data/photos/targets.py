"""Targets of decoded photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cifar.augmentation.boxes import MIN_VISIBLE
from cifar.data.invalid_files import report_invalid
from cifar.data.photos.decoding import Photos
from cifar.data.photos.listing import Example, Options
from cifar.data.photos.threads import in_threads
from cifar.images.placement import Placement
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    Targets = Mapping[str, np.ndarray]

PADDING = {"boxes": (0, "f4"), "classes": (-1, "i8"), "crowd": (False, "?")}
"""Value and type of targets of which images have different numbers."""


def example_targets(examples: Sequence[Example], photos: Photos, options: Options) -> list[Targets | None]:
    """The targets of each example, in pixels of the model's image; `None` where photo or annotations are invalid.

    Errors in annotations are reported to `invalid_files`.
    """
    found: list[Targets | None] = [None] * len(examples)
    errors: dict[int, InputError] = {}

    def annotate(row: int) -> None:
        if row in photos.errors:
            return
        height, width = map(int, photos.sizes[row])
        position = Placement.of((height, width), options.shape, options.resize)
        try:
            targets = dict(examples[row].annotate((height, width)))
        except InputError as error:
            errors[row] = error
            return
        if "boxes" in targets:
            targets["boxes"] = position.boxes_to_image(targets["boxes"])
            if options.resize == "crop":
                targets |= _visible(targets, options.shape)
        if "mask" in targets:
            targets["mask"] = position.mask_to_image(targets["mask"])
        found[row] = targets

    in_threads(annotate, len(examples), "reading annotations")
    for row in sorted(errors):
        report_invalid(errors[row], "annotation")
    return found


def _visible(objects: Targets, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The targets of objects, their boxes clipped to the image; without those of which too little is in it."""
    boxes = objects["boxes"]
    clipped = boxes.clip(0, [shape[1], shape[0]] * 2)
    kept = _area(clipped) >= MIN_VISIBLE * _area(boxes)
    found = {name: values[kept] for name, values in objects.items() if name in PADDING}
    return {**found, "boxes": clipped[kept]}


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def stacked(targets: Sequence[Targets | None], rows: np.ndarray) -> dict[str, np.ndarray]:
    """The targets of `rows`, all valid, as arrays (n, …)."""
    chosen = [targets[row] or {} for row in rows]
    names = chosen[0] if chosen else next((one for one in targets if one), {})
    return {name: _padded([one[name] for one in chosen], *PADDING[name]) if name in PADDING
            else np.stack([one[name] for one in chosen] or [names[name]])[: len(chosen)]
            for name in names}  # fmt: skip


def _padded(arrays: Sequence[np.ndarray], value: float, dtype: str) -> np.ndarray:
    """Stack arrays (k, …) of different k to one (n, m, …), padded with `value`; m is at least 1."""
    longest = max([1, *map(len, arrays)])
    padded = np.full((len(arrays), longest, *(arrays[0].shape[1:] if arrays else ())), value, dtype)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return padded

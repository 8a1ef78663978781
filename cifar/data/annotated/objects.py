"""Objects of photos with boxes, and with masks as polygons or run lengths: from valid annotations to targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cifar.data.annotated.base import check_size, object_targets
from cifar.data.annotated.rle import draw, polygon_lengths
from cifar.files.tree import TreePath
from cifar.runtime.lazy import np


class Object(NamedTuple):
    """A valid annotation: box (left, top, right, bottom), class from 0, polygons or run lengths if masks are read."""

    box: list[float]
    label: int
    crowd: bool
    area: Sequence[Sequence[float]] | np.ndarray | None


def targets_of(
    objects: Sequence[Object],
    masks: bool,
    stated: tuple[int, int],
    photo: TreePath,
    where: object,
    size: tuple[int, int],
) -> Mapping[str, np.ndarray]:
    """The targets of a photo of `size`, with a mask if all objects have an area.

    Raises `InputError` if `where` has `stated` another size.
    """
    check_size(size, stated, photo, where)
    targets = object_targets(
        [item.box for item in objects], [item.label for item in objects], [item.crowd for item in objects]
    )
    return {**targets, "mask": _mask(objects, size)} if masks else targets


def _mask(objects: Sequence[Object], size: tuple[int, int]) -> np.ndarray:
    """Mask, uint8 of `size`; `VOID` where objects of several classes overlap, like torchvision's reference."""
    columns = np.zeros(size[0] * size[1], np.uint8)
    for item in objects:
        assert item.area is not None
        lengths = item.area if isinstance(item.area, np.ndarray) else polygon_lengths(item.area, size)
        draw(columns, lengths, item.label + 1)
    return columns.reshape(size[::-1]).T

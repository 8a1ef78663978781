"""Masks in COCO's formats: polygons, and run lengths in column order, as numbers or a compressed string."""

from __future__ import annotations

from collections.abc import Sequence

from cifar.data.invalid_files import clip
from cifar.interfaces import VOID
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

LONGEST = 7
"""Characters of a compressed number, at most."""


def run_lengths(counts: Sequence[int] | str, stated: Sequence[int], size: tuple[int, int], where: str) -> np.ndarray:
    """Return the lengths of alternating runs of background and object in an image of `size` (height, width): int64.

    Raises `InputError` about `where` if another size is `stated`, or if they do not fill the image (pycocotools would
    leave the rest uninitialized).
    """
    if tuple(stated) != size:
        raise InputError(f"{where}: mask of size {list(stated)}; accepted: the image's, {list(size)}")
    lengths = _decompress(counts, where) if isinstance(counts, str) else np.array(counts, np.int64)
    if (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise InputError(
            f"{where}: run lengths do not fill the image; accepted: lengths from 0 with the sum {size[0] * size[1]}"
        )
    return lengths


def checked_polygons(
    polygons: Sequence[Sequence[float]], size: tuple[int, int], where: str
) -> Sequence[Sequence[float]]:
    """Check polygons (x, y, x, y, …) in an image of `size` (height, width); those that exceed it are clipped.

    Raises `InputError` about `where` for less than three corners, and for a corner more than one pixel outside.
    """
    height, width = size
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise InputError(
                f"{where}: a polygon of {len(polygon)} numbers; accepted: x and y of three corners or more"
            )
    if all(
        min(polygon) >= -1 and max(polygon[0::2]) <= width + 1 and max(polygon[1::2]) <= height + 1
        for polygon in polygons
    ):
        return polygons
    exceeds = f"{where}: a polygon exceeds the image of {width}×{height} pixels"
    clip("polygon", f"{exceeds}; accepted: by at most one pixel")
    return [np.clip(np.reshape(polygon, (-1, 2)), 0, [width, height]).ravel().tolist() for polygon in polygons]


def polygon_lengths(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """Return the run lengths of the union of polygons (x, y, x, y, …) in an image of `size` (height, width): int64.

    The time depends on the outline, not on the size of the image.
    """
    from pycocotools import mask

    packed = mask.merge(mask.frPyObjects([list(polygon) for polygon in polygons], *size))
    return _decompress(packed["counts"].decode(), "polygons")


def draw(columns: np.ndarray, lengths: np.ndarray, value: int) -> None:
    """Draw an object of these run lengths into a mask in column order, uint8 (height · width,).

    Pixels become `value`, or `VOID` where they have another one. The time depends on the object's pixels alone.
    """
    pixels = object_pixels(lengths)
    before = columns[pixels]
    columns[pixels] = np.where((before == 0) | (before == value), np.uint8(value), np.uint8(VOID))


def object_pixels(lengths: np.ndarray) -> np.ndarray:
    """Return the positions of an object's pixels in column order, int64, from its run lengths."""
    ends = lengths.cumsum()[1::2]
    inside = lengths[1::2][: len(ends)]
    first = ends - inside  # position of each run's first pixel
    skipped = first - (inside.cumsum() - inside)
    return np.arange(inside.sum()) + np.repeat(skipped, inside)


def _decompress(text: str, where: str) -> np.ndarray:
    """Decode COCO's variant of LEB128 to int64: five bits per character, and a sixth if more follow.

    From the fourth number on, differences to the second last number.
    """
    bits = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64) - 48
    last = np.flatnonzero(bits & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])[: len(last)]
    sizes = last + 1 - first
    if len(wrong := np.flatnonzero((bits < 0) | (bits >= 64))):
        raise InputError(f"{where}: {text[wrong[0]]!r} in counts; accepted: run lengths compressed by pycocotools")
    if len(bits) and (not len(last) or last[-1] + 1 < len(bits) or sizes.max() > LONGEST):
        raise InputError(f"{where}: truncated counts; accepted: run lengths compressed by pycocotools")
    if not len(bits):
        return bits
    place = np.arange(len(bits)) - np.repeat(first, sizes)
    numbers = np.add.reduceat((bits & 31) << 5 * place, first)
    numbers -= (bits[last] & 16 != 0).astype(np.int64) << 5 * sizes
    for start in (1, 2):
        numbers[start::2] = numbers[start::2].cumsum()
    return numbers

"""Masks as COCO writes them: polygons, and lengths of runs down the columns, as numbers or packed into a text."""

from __future__ import annotations

from collections.abc import Sequence

from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np


def runs_of(counts: Sequence[int] | str, stated: tuple[int, int], size: tuple[int, int], where: str) -> np.ndarray:
    """The lengths of runs, of background and object in turn, that fill an image of `size` (height, width): int64.

    Raises `InputError` about `where` if they do not fill the image, whose rest pycocotools would leave as memory was,
    or if another size is `stated`.
    """
    if tuple(stated) != size:
        raise InputError(f"{where}: a mask of size {list(stated)}; accepted: that of its image, {list(size)}")
    lengths = _unpacked(counts, where) if isinstance(counts, str) else counts
    if any(length < 0 for length in lengths) or sum(lengths) != size[0] * size[1]:
        raise InputError(
            f"{where}: its run lengths do not fill the image; accepted: lengths from 0 that add up to "
            f"{size[0] * size[1]}"
        )
    return np.array(lengths, np.int64)


def run_mask(lengths: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """bool of `size` (height, width)."""
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size[::-1]).T


def polygon_mask(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """What lies in any of the polygons (x, y, x, y, …): bool of `size` (height, width)."""
    from pycocotools import mask

    packed = mask.merge(mask.frPyObjects([list(polygon) for polygon in polygons], *size))
    # Its own decoding still makes numpy warn of what it will refuse.
    return run_mask(np.array(_unpacked(packed["counts"].decode(), "polygons"), np.int64), size)


def _unpacked(text: str, where: str) -> list[int]:
    """The numbers in COCO's own form of LEB128: five bits a character, and from the fourth number on differences to the
    last but one."""
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise InputError(f"{where}: {character!r} in its counts; accepted: run lengths as pycocotools packs them")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise InputError(f"{where}: its counts end within a number; accepted: run lengths as pycocotools packs them")
    return lengths

"""Masks in COCO's formats: polygons, and run lengths in column order, as numbers or a compressed string."""

from __future__ import annotations

from collections.abc import Sequence

from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np


def run_lengths(counts: Sequence[int] | str, stated: tuple[int, int], size: tuple[int, int], where: str) -> np.ndarray:
    """Return the lengths of alternating runs of background and object in an image of `size` (height, width): int64.

    Raises `InputError` about `where` if another size is `stated`, or if they do not fill the image (pycocotools would
    leave the rest uninitialized).
    """
    if tuple(stated) != size:
        raise InputError(f"{where}: mask of size {list(stated)}; accepted: the image's, {list(size)}")
    lengths = _decompress(counts, where) if isinstance(counts, str) else counts
    if any(length < 0 for length in lengths) or sum(lengths) != size[0] * size[1]:
        raise InputError(
            f"{where}: run lengths do not fill the image; accepted: lengths from 0 with the sum {size[0] * size[1]}"
        )
    return np.array(lengths, np.int64)


def run_mask(lengths: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Convert run lengths to a mask, bool of `size` (height, width)."""
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size[::-1]).T


def polygon_mask(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """Convert polygons (x, y, x, y, …) to the mask of their union, bool of `size` (height, width)."""
    from pycocotools import mask

    packed = mask.merge(mask.frPyObjects([list(polygon) for polygon in polygons], *size))
    # pycocotools' own decoding triggers a deprecation warning of NumPy.
    return run_mask(np.array(_decompress(packed["counts"].decode(), "polygons"), np.int64), size)


def _decompress(text: str, where: str) -> list[int]:
    """Decode COCO's variant of LEB128: five bits per character; from the fourth number on, differences to the second
    last number."""
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise InputError(f"{where}: {character!r} in counts; accepted: run lengths compressed by pycocotools")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise InputError(f"{where}: truncated counts; accepted: run lengths compressed by pycocotools")
    return lengths

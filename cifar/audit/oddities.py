"""Images, boxes and masks that look like mistakes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cifar.audit.pool import Pool
from cifar.interfaces import VOID

EMPTY = "of one color"
FAINT = 4.0
"""Standard deviation of the levels of an image below which it has hardly any contrast."""
DARK, BRIGHT = 10, 245
"""Gray levels below and above which the whole image is nearly black or white."""
RARE = 0.05
"""Largest share of gray images that makes them odd among images in color."""
SMALL = 2.0
"""Pixels; the shorter side of a box below which nothing can be seen in it."""
SAME = 0.95
"""Overlap (intersection over union) from which on two boxes of one class are taken for the same object."""


def odd_images(pool: Pool) -> dict[str, np.ndarray]:
    """Return the numbers of odd images by what is odd about them."""
    levels, ranges, deviations, gray = [], [], [], []
    for block in pool.blocks():
        flat = block.reshape(len(block), -1)
        levels.append(np.median(flat, axis=1))
        ranges.append(np.ptp(flat, axis=1))
        deviations.append(flat.std(axis=1))
        gray.append((np.ptp(block, axis=-1) == 0).all(axis=(1, 2)))
    level, extent, deviation, is_gray = map(np.concatenate, (levels, ranges, deviations, gray))
    plain = extent == 0
    found = {EMPTY: plain}
    found["nearly without contrast"] = (deviation < FAINT) & ~plain
    found["nearly black"] = (level < DARK) & (deviation < 4 * FAINT) & ~plain & ~found["nearly without contrast"]
    found["nearly white"] = (level > BRIGHT) & (deviation < 4 * FAINT) & ~plain & ~found["nearly without contrast"]
    if pool.dataset.image_shape[-1] == 3 and 0 < is_gray.mean() <= RARE:
        found["gray among images in color"] = is_gray & ~plain
    return {name: np.flatnonzero(which) for name, which in found.items() if which.any()}


def odd_annotations(pool: Pool) -> dict[str, np.ndarray]:
    """Return the numbers of images with odd boxes or masks by what is odd about them; empty without boxes and masks."""
    found: dict[str, list[int]] = {}
    for number in range(len(pool)):
        for name in _odd(pool.targets(number), pool.dataset.image_shape):
            found.setdefault(name, []).append(number)
    return {name: np.array(numbers) for name, numbers in found.items()}


def _odd(targets: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> list[str]:
    found = []
    if "boxes" in targets:
        real = targets["classes"] >= 0
        boxes, classes = targets["boxes"][real].astype(np.float64), targets["classes"][real]
        sides = boxes[:, 2:] - boxes[:, :2]
        outside = (boxes[:, :2] < -1).any() or (boxes[:, 2:] > np.array(shape[1::-1]) + 1).any()
        found += ["a box beyond the image"] if outside else []
        found += ["no box"] if not len(boxes) else []
        found += [f"a box of less than {SMALL:g} pixels"] if (sides < SMALL).any() else []
        found += ["two boxes around one object"] if _repeated(boxes, classes) else []
    if "mask" in targets:
        values = targets["mask"]
        known = values[values != VOID]
        found += ["a mask without a class"] if not known.any() else []
        found += ["a mask of one class only"] if known.size and known[0] and (known == known[0]).all() else []
    return found


def _repeated(boxes: np.ndarray, classes: np.ndarray) -> bool:
    """True if two boxes (k, 4) of one class overlap nearly completely."""
    corner = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    far = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(far - corner, 0).prod(axis=-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    overlap = shared / np.maximum(area[:, None] + area - shared, 1e-9)
    same = (overlap > SAME) & (classes[:, None] == classes)
    return bool(np.triu(same, 1).any())

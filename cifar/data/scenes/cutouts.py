"""Images of any size, masked by ellipses, polygons and blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar.data.scenes.exact_math import cosine, length, shares, sine
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    Sides = np.ndarray
    """Height and width of objects in pixels: float32 (n, 2)."""

SHAPE_NUMBERS = 20
"""Number of random numbers that define a shape."""


def resized(images: np.ndarray, sides: Sides, patch: int) -> np.ndarray:
    """Resize each of `images` uint8 (n, height, width, channels) to its `sides`, centered in a patch.

    Returns float32 (n, channels, patch, patch); the image's edge is repeated around it. Downsampling filters like
    Pillow's bilinear resizing.
    """
    planes = images.transpose(0, 3, 1, 2).astype(np.float32)
    down, across = (_resampling(sides[:, axis], images.shape[1 + axis], patch)[:, None] for axis in (0, 1))
    return down @ planes @ across.transpose(0, 1, 3, 2)


def _resampling(side: np.ndarray, pixels: int, patch: int) -> np.ndarray:
    """Return a matrix (patch, pixels) of 8-bit weights for each row, which resizes a line of `pixels` to `side`."""
    scale = (pixels / side)[:, None, None].astype(np.float32)
    place = np.arange(patch, dtype=np.float32)[:, None] + np.float32(0.5 - patch / 2)
    place = np.clip(place * scale + np.float32(pixels / 2), 0.5, pixels - 0.5)
    near = np.arange(pixels, dtype=np.float32) + np.float32(0.5)
    return shares(np.maximum(1 - np.abs(place - near) / np.maximum(scale, 1), 0), 8)


def shapes(numbers: np.ndarray, sides: Sides, patch: int) -> np.ndarray:
    """Return the coverage of pixels, float32 (n, patch, patch) in [0, 1], by a shape centered in a patch for each row.

    Random `numbers` (n, SHAPE_NUMBERS) in [0, 1) define it: an ellipse, a polygon or a blob that fills most of a
    rectangle of `sides` and lies within it.
    """
    directions = 8 * patch  # less than half a pixel apart at the patch's edge
    turns = np.arange(directions, dtype=np.float32) / np.float32(directions)
    kind = np.floor(3 * numbers[:, -1])
    radius = np.empty((len(sides), directions), np.float32)
    for number, outline in enumerate((_ellipse, _polygon, _blob)):
        rows = np.flatnonzero(kind == number)
        radius[rows] = outline(numbers[rows, :, None], turns)
    height, width = (sides / 2).T[..., None]
    down, across = height * sine(turns), width * cosine(turns)
    farthest = np.maximum(np.maximum(np.abs(sine(turns)) / height, np.abs(cosine(turns)) / width), 1e-6)
    radius = np.minimum(radius * length(down, across), 1 / farthest)

    y, x = np.mgrid[:patch, :patch].astype(np.float32) + np.float32(0.5 - patch / 2)
    direction = (np.arctan2(y, x) * np.float32(directions / (2 * np.pi)) + 0.5).astype(np.int64) % directions
    covered = np.take(radius, direction, axis=1)
    covered -= length(y, x) - np.float32(0.5)
    return np.clip(covered, 0, 1, out=covered)


# Outlines: distance from the center in each direction, (n, directions); 1 is the largest ellipse in the rectangle.


def _ellipse(numbers: np.ndarray, turns: np.ndarray) -> np.ndarray:
    long, short = 0.9 + 0.2 * numbers[:, 0], 0.65 + 0.3 * numbers[:, 1]
    turned = turns - numbers[:, 2]
    return 1 / length(cosine(turned) / long, sine(turned) / short)


def _polygon(numbers: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """A polygon of four to eight sides with random distances."""
    sides = 4 + np.floor(5 * numbers[:, 0])
    radius = np.full((len(numbers), len(turns)), 2, np.float32)
    for side in range(8):
        normal = numbers[:, 1] + (side + 0.5 * numbers[:, 2 + side]) / sides
        towards = cosine(turns - normal)
        distance = np.where(side < sides, 0.7 + 0.3 * numbers[:, 10 + side], 2)
        np.minimum(radius, distance / np.maximum(towards, 1e-3), out=radius)
    return radius


def _blob(numbers: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """A circle with added waves of two to five periods."""
    radius = np.full((len(numbers), len(turns)), 0.88, np.float32)
    for number, periods in enumerate((2, 3, 4, 5)):
        height, shift = numbers[:, 2 * number], numbers[:, 2 * number + 1]
        radius += 0.3 / periods * height * cosine(periods * turns + shift)
    return radius

"""Contrast, elastic deformation, pixelation and JPEG. Shapes as in `noise`."""

from __future__ import annotations

import io
from collections.abc import Callable

from cifar.data.corruptions.linear import gaussian_blur
from cifar.data.corruptions.noise import to_bytes
from cifar.data.scenes.counter_rng import CounterRNG
from cifar.runtime.lazy import np


def contrast(images: np.ndarray, factor: float, rng: CounterRNG) -> np.ndarray:
    """Multiply the distance of each value to the mean of its channel."""
    x = images / 255.0
    means = x.mean(axis=(1, 2), keepdims=True)
    return to_bytes((x - means) * factor + means)


def elastic(images: np.ndarray, level: tuple[float, float, float], rng: CounterRNG) -> np.ndarray:
    """Move three points for an affine transformation, then each pixel by a smooth random field.

    `level`: strength and smoothness of the field and greatest move of the points, all as a share of the side.
    """
    _, height, width, _ = images.shape
    side = min(height, width)
    strength, smoothness, reach = (side * value for value in level)
    rows, columns = np.mgrid[:height, :width]
    inverse = _inverse_affine((height, width), rng.between(-reach, reach, 3, 2).astype(np.float32))
    y, x = (_fixed(inverse[:, axis], rows, columns) for axis in (1, 0))
    moved = _sampled(images / 255.0, y, x, _mirrored)
    right, down = (
        strength * gaussian_blur(rng.between(-1, 1, height, width, 1).astype(np.float64), smoothness, "reflect", 3)
        for _ in range(2)
    )
    return to_bytes(_sampled(moved, rows + down[..., 0], columns + right[..., 0], _reflected))


def pixelate(images: np.ndarray, factor: float, rng: CounterRNG) -> np.ndarray:
    """Shrink the image by averaging, and enlarge it again."""
    from PIL import Image

    def pixelated(image: Image.Image) -> Image.Image:
        small = image.resize([int(side * factor) for side in image.size], Image.Resampling.BOX)
        return small.resize(image.size, Image.Resampling.BOX)

    return _each(images, pixelated)


def jpeg(images: np.ndarray, quality: int, rng: CounterRNG) -> np.ndarray:
    """Compress the image as JPEG."""
    from PIL import Image

    def compressed(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _each(images, compressed)


def _each(images: np.ndarray, change: Callable) -> np.ndarray:
    from PIL import Image

    result = np.empty_like(images)
    for image, changed in zip(images, result, strict=True):
        picture = Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0])
        changed[:] = np.asarray(change(picture)).reshape(image.shape)
    return result


def _inverse_affine(size: tuple[int, int], moves: np.ndarray) -> np.ndarray:
    """Matrices (n, 2, 3) from (x, y, 1) in the moved image to (x, y) in the original.

    Three corners of a square around the center of `size` are moved by `moves` float32 (n, 3, 2).
    """
    height, width = size
    reach = min(size) // 3
    corners = np.array([[1, 1], [1, -1], [-1, -1]]) * reach + np.array([height // 2, width // 2])
    corners = np.concatenate([corners, np.ones((3, 1))], axis=1)
    moved = (corners[:, :2].astype(np.float32) + moves).astype(np.float64)
    forward = np.linalg.solve(corners, moved)  # (n, 3, 2)
    square = np.concatenate([forward, np.broadcast_to([[0.0], [0.0], [1.0]], (len(moves), 3, 1))], axis=2)
    return np.linalg.inv(square)[:, :, :2].transpose(0, 2, 1)


def _fixed(row: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Positions `row` (n, 3) times (x, y, 1) in steps of 1/32 of a pixel, as OpenCV's `warpAffine` computes them."""
    x, y, constant = (row[:, k, None, None] for k in range(3))
    return ((np.rint((y * rows + constant) * 1024) + np.rint(x * columns * 1024) + 16) // 32) / 32


def _sampled(images: np.ndarray, y: np.ndarray, x: np.ndarray, inside: Callable) -> np.ndarray:
    """Interpolate images (n, h, w, c) linearly at positions (n, h, w); `inside` maps an index beyond the edge."""
    _, height, width, _ = images.shape
    number = np.arange(len(images))[:, None, None]
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    total = np.zeros(images.shape)
    for row, vertical in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, horizontal in ((left, 1 - (x - left)), (left + 1, x - left)):
            values = images[number, inside(row, height), inside(column, width)]
            total += (vertical * horizontal)[..., None] * values
    return total


def _mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Reflect at the center of the last pixel: … 2 1 0 1 2 …"""
    index = index % max(1, 2 * size - 2)
    return np.minimum(index, 2 * size - 2 - index)


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
    """Reflect at the edge of the last pixel: … 1 0 0 1 …"""
    index = index % (2 * size)
    return np.minimum(index, 2 * size - 1 - index)

"""Blur: out of focus, behind frosted glass, by motion, by zooming. Shapes as in `noise`."""

from __future__ import annotations

import functools

from cifar.data.corruptions.linear import clipped_zoom, gaussian_blur
from cifar.data.corruptions.noise import to_bytes
from cifar.data.scenes.counter_rng import CounterRNG
from cifar.runtime.lazy import np

WINDOW = 3
"""Half of the side, in pixels, of the kernels of the greatest disk here and its smoothing."""


def defocus(images: np.ndarray, level: tuple[float, float], rng: CounterRNG) -> np.ndarray:
    """Convolve with a disk of a radius in pixels that is smoothed by a Gaussian of a standard deviation."""
    from scipy.ndimage import correlate

    return to_bytes(correlate(images / 255.0, _disk(*level)[None, :, :, None], mode="mirror"))


def glass(images: np.ndarray, level: tuple[float, int], rng: CounterRNG) -> np.ndarray:
    """Blur by a standard deviation, move pixels by at most one place so many times, and blur again.

    The authors mean to swap pixels; their code copies them from the upper left, and so does this.
    """
    sigma, repetitions = level
    moved = to_bytes(gaussian_blur(images / 255.0, sigma))
    _, height, width, _ = images.shape
    rows, columns = np.arange(2, height)[:, None], np.arange(2, width)
    number = np.arange(len(images))[:, None, None]
    for _ in range(repetitions):
        up, left = rng.below(2, height - 2, width - 2), rng.below(2, height - 2, width - 2)
        moved[:, 2:, 2:] = moved[number, rows - up, columns - left]
    return to_bytes(gaussian_blur(moved / 255.0, sigma))


def motion(images: np.ndarray, level: tuple[int, float], rng: CounterRNG) -> np.ndarray:
    """Blur in a direction within 45° of the horizontal."""
    return motion_blur(images, *level, rng.between(-45, 45))


def zoom(images: np.ndarray, end: float, rng: CounterRNG) -> np.ndarray:
    """Average the image with enlargements of its center by 1, 1.01, 1.02, … up to `end`."""
    x = images / 255.0
    factors = np.arange(1, end, 0.01)
    return to_bytes((x + sum(clipped_zoom(x, float(factor)) for factor in factors)) / (len(factors) + 1))


def motion_blur(images: np.ndarray, radius: int, sigma: float, degrees: np.ndarray) -> np.ndarray:
    """Average pixels along a line that begins at each: ImageMagick's `MotionBlurImage`.

    `images` are uint8 (n, h, w, c), `degrees` (n,) the direction of the line from the left to right axis downward.
    The line has 2 `radius` + 1 pixels, with weights of half a Gaussian; outside, the edge is repeated.
    """
    _, height, width, _ = images.shape
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    angle = np.deg2rad(degrees.astype(np.float64))[:, None]
    down, right = (np.ceil(steps * part - 0.5).astype(np.int64) for part in (np.sin(angle), np.cos(angle)))
    number = np.arange(len(images))[:, None, None]
    total = np.zeros(images.shape)
    for step, weight in enumerate(weights):
        rows = np.clip(np.arange(height) + down[:, step, None], 0, height - 1)
        columns = np.clip(np.arange(width) + right[:, step, None], 0, width - 1)
        total += weight * images[number, rows[:, :, None], columns[:, None, :]]
    return np.rint(total).astype(np.uint8)


@functools.cache
def _disk(radius: float, sigma: float) -> np.ndarray:
    """The kernel of `defocus`; the Gaussian that smoothes it has 3×3 weights."""
    from scipy.ndimage import correlate1d

    axis = np.arange(-WINDOW, WINDOW + 1)
    disk = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float64)
    beside = np.exp(-0.5 / sigma**2)
    weights = np.array([beside, 1, beside]) / (1 + 2 * beside)
    smooth = disk / disk.sum()
    for number in (0, 1):
        smooth = correlate1d(smooth, weights, axis=number, mode="constant")
    return smooth

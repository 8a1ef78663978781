"""Separable linear operations on images as matrices, made by applying SciPy's to an identity matrix."""

from __future__ import annotations

import functools
import math

from cifar.runtime.lazy import np


def apply(rows: np.ndarray, columns: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Multiply `rows` (h', h) and `columns` (w', w) into the images (n, h, w, c): (n, h', w', c)."""
    planes = np.moveaxis(images, 3, 1)
    return np.moveaxis(rows @ planes @ columns.T, 1, 3)


def gaussian_blur(images: np.ndarray, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> np.ndarray:
    """Blur images (n, h, w, c); `mode` and `truncate` are those of `scipy.ndimage.gaussian_filter`."""
    height, width = images.shape[1:3]
    rows, columns = (_gaussian(size, sigma, mode, truncate) for size in (height, width))
    return apply(rows, columns, images)


def clipped_zoom(images: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge the center of images (n, h, w, c) by `factor` with linear interpolation, and cut them to their size."""
    height, width = images.shape[1:3]
    return apply(_zoom(height, factor), _zoom(width, factor), images)


@functools.cache
def _gaussian(size: int, sigma: float, mode: str, truncate: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.eye(size), sigma, axis=0, mode=mode, truncate=truncate) if sigma else np.eye(size)


@functools.cache
def _zoom(size: int, factor: float) -> np.ndarray:
    """The matrix (size, size) of `clipped_zoom` along an axis."""
    from scipy.ndimage import zoom

    cut = math.ceil(size / factor)
    top = (size - cut) // 2
    enlarged = zoom(np.eye(size)[top : top + cut], (factor, 1), order=1)
    trimmed = (len(enlarged) - size) // 2
    return enlarged[trimmed : trimmed + size]

"""Comparison of pairs of images by their pixels: aligned by shift and scale, and held against chance.

The measure is the normalized cross-correlation (Lewis, 1995), in which brightness and contrast do not count. Images of
few, large forms, such as a ship before the sky, correlate by chance. So the correlation is held against the number of
pixels that are independent of each other, as the two images' spectra tell it (Bartlett, 1935).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter1d

MARGIN = 5
"""Largest shift in pixels, of images whose side is `pool.SIDE`; so much of the first image's border is not compared."""
SCALES = (0.9, 1.0, 1 / 0.9)
COARSE, FINE = (0.7, 3.0), (0.4, 1.2)
"""Standard deviations in pixels of the two Gaussians whose difference passes a band of frequencies."""


@dataclass(frozen=True)
class Compared:
    """The correlation of pairs (m,) in a band of frequencies, and its distance from chance in standard deviations."""

    correlation: np.ndarray
    deviations: np.ndarray


def band(gray: np.ndarray, sigmas: tuple[float, float]) -> np.ndarray:
    """Return float32 images (n, side, side) with a band of the frequencies of `gray`."""
    images = gray.astype(np.float32)
    return _blurred(images, sigmas[0]) - _blurred(images, sigmas[1])


def compare(first: np.ndarray, second: np.ndarray) -> Compared:
    """Compare images (m, side, side) pair by pair, each at the shift and scale at which the two correlate most."""
    best = _correlation(first, second)
    side = first.shape[1]
    independent = _independent(first, second) * (side - 2 * MARGIN) ** 2 / side**2
    # Fisher's transformation; each complex coefficient of the spectrum has two parts.
    deviations = np.arctanh(np.minimum(best, 0.9999)) * np.sqrt(np.maximum(2 * independent - 3, 1))
    return Compared(best, deviations)


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    side = first.shape[1]
    inner, shifts = side - 2 * MARGIN, 2 * MARGIN + 1
    window = first[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    window = window - window.mean(axis=(1, 2), keepdims=True)
    padded = np.zeros_like(first)
    padded[:, MARGIN:-MARGIN, MARGIN:-MARGIN] = window
    spectrum, length = np.conj(fft.rfft2(padded)), np.sqrt((window**2).sum(axis=(1, 2)))
    best = np.full(len(first), -1.0, np.float32)
    for scale in SCALES:
        matrix = _zoom(side, scale)
        zoomed = matrix @ second @ matrix.T
        products = fft.irfft2(spectrum * fft.rfft2(zoomed), s=(side, side))
        products = np.roll(products, (MARGIN, MARGIN), (1, 2))[:, :shifts, :shifts]
        total, squares = _window_sums(zoomed, inner), _window_sums(zoomed**2, inner)
        lengths = np.sqrt(np.maximum(squares - total**2 / inner**2, 1e-6))
        correlation = products / (lengths * length[:, None, None] + 1e-3)
        best = np.maximum(best, correlation.reshape(len(first), -1).max(axis=1))
    return best


def _independent(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the number (m,) of independent coefficients of the spectra, at most side²."""
    powers = [_power(images) for images in (first, second)]
    return 1 / ((powers[0] * powers[1]).sum(axis=(1, 2)) + 1e-12)


def _power(images: np.ndarray) -> np.ndarray:
    side = images.shape[1]
    window = np.hanning(side + 2)[1:-1].astype(np.float32)
    centered = (images - images.mean(axis=(1, 2), keepdims=True)) * window * window[:, None]
    power = np.abs(fft.fft2(centered)) ** 2
    return power / (power.sum(axis=(1, 2), keepdims=True) + 1e-12)


def _zoom(side: int, scale: float) -> np.ndarray:
    """Return the matrix float32 (side, side) that enlarges about the center, by linear interpolation."""
    place = np.clip((np.arange(side) + 0.5 - side / 2) / scale + side / 2 - 0.5, 0, side - 1)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(side))).astype(np.float32)


def _window_sums(images: np.ndarray, inner: int) -> np.ndarray:
    """Return the sums over all windows (inner, inner) of images (m, side, side)."""
    sums = np.pad(images.astype(np.float64), ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    return sums[:, inner:, inner:] - sums[:, :-inner, inner:] - sums[:, inner:, :-inner] + sums[:, :-inner, :-inner]


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter1d(gaussian_filter1d(images, sigma, axis=1, mode="nearest"), sigma, axis=2, mode="nearest")

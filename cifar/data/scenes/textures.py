"""Random backgrounds: gradients, clouds, stripes, checks and rings in random colors."""

from __future__ import annotations

from cifar.data.scenes.counter_rng import CounterRNG
from cifar.data.scenes.exact_math import cosine, length, shares, sine
from cifar.runtime.lazy import np

OCTAVES = (3, 6, 12, 24)
"""Cells per side of the noise grids of clouds; the weight decreases from octave to octave."""


def textured(rng: CounterRNG, size: int, channels: int) -> np.ndarray:
    """Return one background per row of `rng`: float32 (n, channels, size, size), 0 to 255."""
    clouds, slow = _clouds(rng, size)
    pattern = _pattern(rng, size, clouds)
    share = rng(1, 1)
    amount = share * pattern + (1 - share) * clouds
    first, second, third = (color[..., None, None] for color in _colors(rng, channels))
    x = first + (second - first) * amount[:, None]
    x += (third - first) / 2 * slow[:, None]
    grain = rng.bytes(size * size).reshape(-1, 1, size, size).astype(np.float32)
    x += (grain - np.float32(127.5)) * rng.between(0, 0.12, 1, 1, 1)
    return np.clip(x, 0, 255, out=x)


def _colors(rng: CounterRNG, channels: int) -> list[np.ndarray]:
    """Return three colors per row, from grayish to bright: (n, channels) each."""
    colors = rng.between(20, 235, 3, channels)
    gray = colors.mean(axis=2, keepdims=True)
    colors = gray + (colors - gray) * rng.between(0.2, 1, 3, 1)
    return list(colors.transpose(1, 0, 2))


def _clouds(rng: CounterRNG, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noise of several octaves, (n, size, size) in [0, 1], and its lowest octave."""
    octaves = []
    for cells in OCTAVES:
        rise = _interpolation(size, cells)
        grid = rng.bytes(cells * cells).reshape(-1, cells, cells).astype(np.float32) * np.float32(2**-8)
        octaves.append(rise @ grid @ rise.T)
    roughness = rng.between(0.3, 0.8, 1, 1)
    total, weight, weights = np.zeros_like(octaves[0]), np.ones_like(roughness), np.zeros_like(roughness)
    for octave in octaves:
        total += weight * octave
        weights += weight
        weight = weight * roughness
    clouds = np.float32(0.5) + 2 * (total / weights - np.float32(0.5))  # a mean of several has low contrast
    return np.clip(clouds, 0, 1, out=clouds), octaves[0]


def _interpolation(size: int, cells: int) -> np.ndarray:
    """Return the matrix (size, cells) of 7-bit weights that interpolates smoothly between `cells` values."""
    place = np.arange(size, dtype=np.float32)[:, None] * np.float32((cells - 1) / max(size - 1, 1))
    near = np.clip(1 - np.abs(place - np.arange(cells, dtype=np.float32)), 0, 1)
    return shares(near * near * (3 - 2 * near), 7)


def _pattern(rng: CounterRNG, size: int, clouds: np.ndarray) -> np.ndarray:
    """Return a gradient, stripes, checks or rings per row, (n, size, size) in [0, 1], distorted by the clouds."""
    steps = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    y, x = steps[:, None], steps[None, :]
    kind = rng.below(4)
    angle, phase = rng(2, 1, 1).transpose(1, 0, 2, 3)
    cycles, bend, sharpness = rng.between(1.5, 9, 1, 1), rng.between(0, 0.6, 1, 1), rng.between(0.4, 2.5, 1, 1)
    center = rng.between(-0.8, 0.8, 2, 1, 1)
    pattern = np.empty_like(clouds)

    def wave(rows: np.ndarray, along: np.ndarray) -> np.ndarray:
        return sine(cycles[rows] * along + bend[rows] * clouds[rows] + phase[rows])

    def axis(rows: np.ndarray, turned: float) -> np.ndarray:
        turns = angle[rows] + np.float32(turned)
        return cosine(turns) * x + sine(turns) * y

    gradient, stripes, checks, rings = (np.flatnonzero(kind == number) for number in range(4))
    pattern[gradient] = np.clip(np.float32(0.5) + axis(gradient, 0), 0, 1)
    pattern[stripes] = wave(stripes, axis(stripes, 0))
    pattern[checks] = wave(checks, axis(checks, 0)) * wave(checks, axis(checks, 0.25))
    pattern[rings] = wave(rings, length(x - center[rings, 0], y - center[rings, 1]))
    waves = np.flatnonzero(kind > 0)
    pattern[waves] = np.clip(np.float32(0.5) + sharpness[waves] * pattern[waves], 0, 1)
    return pattern

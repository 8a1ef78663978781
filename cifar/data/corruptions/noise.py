"""Noise in each pixel and channel.

Images are uint8 (n, height, width, channels); `rng` has a row of random numbers for each.
"""

from __future__ import annotations

from cifar.data.scenes.counter_rng import CounterRNG
from cifar.runtime.lazy import np


def gaussian(images: np.ndarray, deviation: float, rng: CounterRNG) -> np.ndarray:
    """Add normal noise of a standard `deviation`, where white is 1."""
    return to_bytes(images / 255.0 + deviation * normal(rng, *images.shape[1:]))


def shot(images: np.ndarray, photons: int, rng: CounterRNG) -> np.ndarray:
    """Replace each value by a Poisson number of photons, of which white has `photons` on average."""
    return to_bytes(poisson(images, photons, rng(*images.shape[1:])) / photons)


def impulse(images: np.ndarray, share: float, rng: CounterRNG) -> np.ndarray:
    """Set a `share` of the values to black or white."""
    number = rng(*images.shape[1:])
    return np.where(number > share, images, np.where(number <= share / 2, np.uint8(255), np.uint8(0)))


def normal(rng: CounterRNG, *shape: int) -> np.ndarray:
    """Standard normal numbers: float64 (n, *shape)."""
    from scipy.special import ndtri

    return ndtri(rng(*shape).astype(np.float64) + 2**-25)


def poisson(images: np.ndarray, photons: int, uniform: np.ndarray) -> np.ndarray:
    """Poisson numbers of mean `images / 255 * photons` by inversion of their distribution at `uniform`: int64."""
    from scipy.special import pdtr

    values, number = images.reshape(-1), uniform.reshape(-1)
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(np.bincount(values, minlength=256))
    counts = np.zeros(len(values), np.int64)
    for value in range(1, 256):
        mean = value / 255 * photons
        chosen = order[ends[value - 1] : ends[value]]
        if len(chosen):
            steps = pdtr(np.arange(int(mean + 10 * np.sqrt(mean) + 10)), mean)
            counts[chosen] = np.searchsorted(steps, number[chosen], side="right")
    return counts.reshape(images.shape)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Cut values to 0 and 1, and convert them to uint8 as the authors do: multiplied by 255, without rounding."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)

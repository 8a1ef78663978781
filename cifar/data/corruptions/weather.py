"""Snow, frost, fog and brightness. Shapes as in `noise`."""

from __future__ import annotations

from cifar.data.corruptions.blur import motion_blur
from cifar.data.corruptions.linear import apply, clipped_zoom
from cifar.data.corruptions.noise import normal, to_bytes
from cifar.data.scenes.counter_rng import CounterRNG
from cifar.runtime.lazy import np

OCTAVES = (2, 4, 8, 16)
"""Cells of frost along the side of an image, from coarse to fine."""
ICE = (0.92, 0.97, 1.0)
"""Red, green and blue of frost."""


def snow(images: np.ndarray, level: tuple[float, ...], rng: CounterRNG) -> np.ndarray:
    """Whiten the image, and add flakes that fall in two directions.

    `level`: mean and deviation of the flakes, their size, the threshold below which there is none, radius and deviation
    of their motion blur, and the share of the image that is not whitened.
    """
    mean, deviation, size, threshold, radius, sigma, share = level
    flakes = clipped_zoom(mean + deviation * normal(rng, *images.shape[1:3], 1), size)
    flakes = to_bytes(np.where(flakes < threshold, 0, flakes))
    flakes = motion_blur(flakes, int(radius), sigma, rng.between(-135, -45)) / 255.0
    x = images / 255.0
    white = np.maximum(x, _gray(x) * 1.5 + 0.5)
    return to_bytes(share * x + (1 - share) * white + flakes + flakes[:, ::-1, ::-1])


def frost(images: np.ndarray, level: tuple[float, float], rng: CounterRNG) -> np.ndarray:
    """Darken the image by a factor and add ice by another.

    The authors cut the ice from photos of their own. Here it is noise in four octaves with bright ridges.
    """
    _, height, width, channels = images.shape
    ice = np.zeros((len(images), height, width, 1))
    for cells in OCTAVES:
        lattice = rng(cells + 1, cells + 1, 1).astype(np.float64)
        smooth = apply(_interpolation(height, cells), _interpolation(width, cells), lattice)
        ice += (1 - abs(2 * smooth - 1)) ** 2 / len(OCTAVES)
    tint = np.array(ICE if channels == 3 else [1.0])
    return np.clip(level[0] * images + level[1] * 255 * ice * tint, 0, 255).astype(np.uint8)


def fog(images: np.ndarray, level: tuple[float, float], rng: CounterRNG) -> np.ndarray:
    """Add a cloud of a thickness, whose details get smaller by a factor, without exceeding the brightest pixel."""
    thickness, decay = level
    _, height, width, _ = images.shape
    x = images / 255.0
    brightest = x.max(axis=(1, 2, 3), keepdims=True)
    side = 1 << (max(height, width) - 1).bit_length()
    x = x + thickness * plasma(side, decay, rng)[:, :height, :width, None]
    return to_bytes(x * brightest / (brightest + thickness))


def brightness(images: np.ndarray, added: float, rng: CounterRNG) -> np.ndarray:
    """Add to the value of each color in the HSV model; hue and saturation stay."""
    x = images / 255.0
    value = x.max(axis=3, keepdims=True)
    brighter = np.clip(value + added, 0, 1)
    return to_bytes(np.where(value > 0, x * (brighter / np.where(value > 0, value, 1)), brighter))


def plasma(side: int, decay: float, rng: CounterRNG) -> np.ndarray:
    """Fractal clouds from 0 to 1, (n, side, side), by the diamond-square algorithm on a torus.

    Fournier, Fussell and Carpenter, "Computer Rendering of Stochastic Models", 1982. `side` is a power of 2; each finer
    grid varies less, by the factor `decay`.
    """
    wobble, step = 100.0, side
    cloud = rng(side, side).astype(np.float64)  # all but the first corner are replaced
    cloud[:, 0, 0] = 0

    def perturbed(total: np.ndarray) -> np.ndarray:
        return total / 4 + wobble * wobble * (2 * rng(*total.shape[1:]).astype(np.float64) - 1)

    while step >= 2:
        half = step // 2
        corners = cloud[:, ::step, ::step]
        right = corners + np.roll(corners, -1, axis=1)
        cloud[:, half::step, half::step] = perturbed(right + np.roll(right, -1, axis=2))
        centers, corners = cloud[:, half::step, half::step], cloud[:, ::step, ::step]
        cloud[:, ::step, half::step] = perturbed(
            centers + np.roll(centers, 1, axis=1) + corners + np.roll(corners, -1, axis=2)
        )
        cloud[:, half::step, ::step] = perturbed(
            centers + np.roll(centers, 1, axis=2) + corners + np.roll(corners, -1, axis=1)
        )
        step, wobble = half, wobble / decay
    cloud -= cloud.min(axis=(1, 2), keepdims=True)
    return cloud / cloud.max(axis=(1, 2), keepdims=True)


def _gray(x: np.ndarray) -> np.ndarray:
    """Luma of colors (n, h, w, c): (n, h, w, 1)."""
    return x if x.shape[3] == 1 else (x @ np.array([0.299, 0.587, 0.114]))[..., None]


def _interpolation(size: int, cells: int) -> np.ndarray:
    """The matrix (size, cells + 1) of linear interpolation between the values of a lattice."""
    place = (np.arange(size) + 0.5) / size * cells
    return np.maximum(0, 1 - abs(place[:, None] - np.arange(cells + 1)))

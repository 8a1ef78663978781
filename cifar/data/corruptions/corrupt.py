"""Corruption of a batch by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cifar.data.corruptions import blur, digital, noise, weather
from cifar.data.corruptions.kinds import KINDS, Kind
from cifar.data.scenes.counter_rng import CounterRNG
from cifar.runtime.lazy import np

STREAM = 1903_12261
"""Keeps these random numbers apart from those of other streams."""

LEVELS: dict[Kind, tuple[Callable[..., np.ndarray], list[Any]]] = {
    "gaussian_noise": (noise.gaussian, [0.04, 0.06, 0.08, 0.09, 0.10]),
    "shot_noise": (noise.shot, [500, 250, 100, 75, 50]),
    "impulse_noise": (noise.impulse, [0.01, 0.02, 0.03, 0.05, 0.07]),
    "defocus_blur": (blur.defocus, [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)]),
    "glass_blur": (blur.glass, [(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)]),
    "motion_blur": (blur.motion, [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)]),
    "zoom_blur": (blur.zoom, [1.06, 1.11, 1.16, 1.21, 1.26]),
    "snow": (weather.snow, [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ]),
    "frost": (weather.frost, [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)]),
    "fog": (weather.fog, [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)]),
    "brightness": (weather.brightness, [0.05, 0.1, 0.15, 0.2, 0.3]),
    "contrast": (digital.contrast, [0.75, 0.5, 0.4, 0.3, 0.15]),
    "elastic_transform": (digital.elastic, [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05),
                                            (0.1, 0.03, 0.03)]),
    "pixelate": (digital.pixelate, [0.95, 0.9, 0.85, 0.75, 0.65]),
    "jpeg_compression": (digital.jpeg, [80, 65, 58, 50, 40]),
}  # fmt: skip
"""The function of each kind, and what it takes at severities 1 to 5: the authors' `make_cifar_c.py`."""


def corrupt(images: np.ndarray, kind: Kind, severity: int, first: int = 0) -> np.ndarray:
    """Corrupt uint8 `images` (n, height, width, channels) with 1 or 3 channels; return as many of the same shape.

    `severity` is 1 to 5, `first` the number of the first image in its data set. The result for an image depends on its
    pixels, its number, kind and severity only, not on the batch.
    """
    function, levels = LEVELS[kind]
    rng = CounterRNG((STREAM, KINDS.index(kind), severity), first, len(images))
    return function(images, levels[severity - 1], rng)

"""Faults planted in images and labels: what an audit has to find."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

KINDS = ("shift", "contrast", "jpeg", "crop")


def textures(count: int, seed: int, side: int = 32) -> np.ndarray:
    """Images of random blots in color, uint8 (count, side, side, 3), each as detailed as a photo."""
    rng = np.random.default_rng(seed)
    shape = (count, side, side, 3)
    blots = sum(
        weight * gaussian_filter(rng.standard_normal(shape), (0, sigma, sigma, 0)) * sigma
        for weight, sigma in ((1.0, 4.0), (0.8, 2.0), (0.4, 1.0))
    )
    return np.clip(128 + 90 * blots, 0, 255).astype(np.uint8)


def near_duplicate(image: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """A copy of `image` uint8 (height, width, 3).

    Shifted by 2 pixels, of other contrast, as a JPEG of quality 50, or a random crop of 90 % of the sides, enlarged.
    """
    height, width = image.shape[:2]
    if kind == "shift":
        down, right = [(2, 0), (-2, 0), (0, 2), (0, -2), (2, 2), (-2, 2), (2, -2), (-2, -2)][rng.integers(8)]
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
        return padded[2 + down : 2 + down + height, 2 + right : 2 + right + width]
    if kind == "contrast":
        return np.clip((image - 128.0) * rng.choice([0.6, 1.5]) + 128, 0, 255).astype(np.uint8)
    if kind == "jpeg":
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=50)
        return np.asarray(Image.open(file))
    left, top = rng.uniform(0, 0.1 * width), rng.uniform(0, 0.1 * height)
    box = (left, top, left + 0.9 * width, top + 0.9 * height)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box))


def wrong_labels(labels: np.ndarray, classes: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """`labels` (n,) with a `share` of them replaced by another class at random."""
    changed = rng.choice(len(labels), round(share * len(labels)), replace=False)
    noisy = labels.copy()
    noisy[changed] = (labels[changed] + rng.integers(1, classes, len(changed))) % classes
    return noisy

"""The common corruptions: against the authors' own code, and independent of batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cifar.data.corruptions import KINDS, SEVERITIES, corrupt

GOLDEN = Path(__file__).with_name("corruptions.npz")
"""Every second pixel of `picture()` as the functions of the authors' `make_cifar_c.py` (hendrycks/robustness, ca36008)
corrupt it, given the random numbers of this project; by scikit-image 0.22, OpenCV 4.11, Pillow 13.0. A plain loop after
ImageMagick's `MotionBlurImage` stands in for the library. There is no frost, which is made otherwise here."""
WITHOUT_NUMBERS = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
"""Corruptions that are the same for all images."""


def picture(height: int = 32, width: int = 32, channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([(3 * x + (5 - c) * y + (x * y) % (23 + 8 * c)) % 256 for c in range(channels)], 2).astype(np.uint8)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "frost"])
def test_pixels_are_those_of_the_authors_code(kind):
    for severity in range(1, SEVERITIES + 1):
        ours = corrupt(picture()[None], kind, severity)[0, ::2, ::2]
        theirs = np.load(GOLDEN)[f"{kind}_{severity}"]
        difference = abs(ours.astype(int) - theirs)
        assert difference.max() <= 1  # they cut fractions off, so that the last bit of a float decides
        assert (difference > 0).mean() < (0.2 if kind == "defocus_blur" else 0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_corrupted_by_its_number_and_not_by_its_batch(kind):
    images = np.stack([picture()] * 5)
    whole = corrupt(images, kind, 3)
    np.testing.assert_array_equal(corrupt(images[2:4], kind, 3, first=2), whole[2:4])
    assert (whole[0] == whole[1]).all() == (kind in WITHOUT_NUMBERS)
    assert len({corrupt(images[:1], kind, severity).tobytes() for severity in range(1, SEVERITIES + 1)}) == SEVERITIES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (20, 33, 3), (17, 9, 1)])
def test_images_of_other_sizes(kind, shape):
    images = picture(*shape)[None]
    found = corrupt(images, kind, 5)
    assert (found.shape, found.dtype) == (images.shape, np.uint8)
    assert not np.array_equal(found, images)


def test_frost_brightens_dark_images_and_is_neither_flat_nor_colored():
    dark = corrupt(np.zeros((50, 32, 32, 3), np.uint8), "frost", 5)
    assert 30 < dark.mean() < 80 and dark.std(axis=(1, 2)).min() > 5
    assert dark.mean(axis=(0, 1, 2)).max() < 1.15 * dark.mean(axis=(0, 1, 2)).min()


def test_shot_noise_has_the_mean_and_the_variance_of_photons():
    images = np.full((200, 16, 16, 3), 102, np.uint8)
    found = corrupt(images, "shot_noise", 5).astype(float)
    assert found.mean() == pytest.approx(102, abs=0.7)  # cut off, not rounded
    assert found.var() == pytest.approx(102 * 255 / 50, rel=0.03)

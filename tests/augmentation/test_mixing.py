"""Blends of images and of their targets; and policies, which pick one transform for an image."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats

from cifar.augmentation import Batch, BatchRandom, Photometric, compose, transforms_of
from cifar.augmentation.policies import COLOR_OPERATIONS
from helpers.augmentations import blended, build, moments, noise


@settings(deadline=None, max_examples=20)
@given(moments, st.sampled_from(["mixup", "cutmix"]), st.floats(0.05, 5))
def test_mixing_blends_each_image_with_one_other_and_the_targets_likewise(moment, name, alpha):
    images = noise((30, 8, 8, 3))
    result, shares = blended(images, build(name, **{name: {"alpha": alpha}}), moment)
    np.testing.assert_allclose(np.sum(shares, axis=1), 1, atol=1e-5)
    assert np.min(shares) >= 0
    # Each is the partner of one: what rows have beside the diagonal is at most one entry, and columns likewise.
    beside = np.asarray(shares) * (1 - np.eye(30)) > 0
    assert beside.sum(axis=1).max() <= 1 and beside.sum(axis=0).max() <= 1
    expected = np.einsum("ij,jhwc->ihwc", shares, images.astype(float))
    if name == "mixup":
        np.testing.assert_allclose(result, expected, atol=0.501)
    else:
        partners = np.where(beside.any(axis=1), beside.argmax(axis=1), np.arange(30))
        assert ((result.numpy() == images) | (result.numpy() == images[partners])).all()


@settings(deadline=None, max_examples=20)
@given(moments, st.floats(0.05, 5), st.sampled_from([(8, 8), (9, 14)]))
def test_the_target_of_cutmix_has_the_shares_of_the_areas(moment, alpha, shape):
    images = np.broadcast_to(np.arange(30, dtype=np.uint8)[:, None, None, None], (30, *shape, 1))
    result, shares = blended(images, build("cutmix", cutmix={"alpha": alpha, "probability": 1}), moment)
    areas = [(result.numpy() == number).mean(axis=(1, 2, 3)) for number in range(30)]
    np.testing.assert_allclose(shares, np.stack(areas, axis=1), atol=1e-6)
    for other in (result.numpy() != images)[..., 0]:
        np.testing.assert_array_equal(other, np.outer(other.any(axis=1), other.any(axis=0)))


def test_mixup_keeps_a_share_from_a_beta_distribution():
    for alpha in (0.2, 1, 4):
        _, shares = blended(np.zeros((3000, 1, 1, 1), np.uint8), build("mixup", mixup={"alpha": alpha}))
        assert stats.kstest(np.diag(shares), stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_of_two_mixing_transforms_one_acts_on_a_batch():
    images, seen = noise((20, 8, 8, 1)), []
    both, alone = build("mixup", "cutmix"), [build("mixup"), build("cutmix")]
    for step in range(20):
        results = [blended(images, transforms, (0, 0, step)) for transforms in (both, *alone)]
        found, *expected = [result.numpy().tobytes() + shares.numpy().tobytes() for result, shares in results]
        seen.append(expected.index(found))
    assert 4 < sum(seen) < 16


def test_what_a_policy_draws_is_one_transform_for_an_image():
    images, transforms = noise((2000, 8, 8, 3)), build("trivial_augment")
    matrices = compose(transforms, Batch(0, 0, 0, np.arange(2000)), (8, 8, 3)).numpy()
    moved = (matrices != np.eye(3)).any(axis=(1, 2))
    ((_, recoloring),) = transforms_of(Photometric, transforms)
    numbers = recoloring.sample(BatchRandom("trivial_augment", Batch(0, 0, 0, np.arange(2000)), (8, 8, 3)))
    counts = np.bincount(numbers[:, 0].numpy().astype(int), minlength=14)
    assert len(counts) == 14 and stats.chisquare(counts).pvalue > 1e-3
    recolored = (recoloring.apply(numbers, images.astype(np.float32)).numpy() != images).any(axis=(1, 2, 3))
    assert not (moved & recolored).any() and moved.mean() > 0.3 and recolored.mean() > 0.3


def pillow(name, picture, strength, side):
    match name:
        case "posterize":
            return ImageOps.posterize(picture, 8 - round(6 * strength))
        case "solarize":
            return ImageOps.solarize(picture, 256 * (1 - strength))
        case "autocontrast" | "equalize":
            return getattr(ImageOps, name)(picture)
    return getattr(ImageEnhance, name.title())(picture).enhance(1 + 0.99 * strength * side)


@pytest.mark.parametrize("name", ["brightness", "color", "contrast", "sharpness", "posterize", "solarize",
                                  "autocontrast", "equalize"])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_colors_of_a_policy_are_those_of_pillow(name, channels):
    own = name
    (change,) = [operation for operation in COLOR_OPERATIONS if operation.__name__ == f"_{own}"]
    smooth = ndimage.gaussian_filter(noise((4, 24, 24, channels)).astype(float), (0, 2, 2, 0))
    images = np.uint8(np.clip(128 + 6 * (smooth - 128), 20, 240))
    for strength, side in ((0, 1), (0.5, 1), (0.5, -1), (1, 1), (1, -1)):
        result = change(tf.constant(images, tf.float32), np.float32(strength), np.float32(side))
        for image, changed in zip(images, tf.saturate_cast(tf.round(result), tf.uint8).numpy(), strict=True):
            expected = pillow(name, Image.fromarray(image[..., 0] if channels == 1 else image), strength, side)
            np.testing.assert_allclose(changed.squeeze().astype(int), np.asarray(expected), atol=2)

"""Overlays on images, and letterboxed photos."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cifar.images.overlay import SMALL, class_color, draw_boxes, draw_mask
from cifar.images.photos import Preparation
from cifar.interfaces import VOID
from helpers.pictures import read_photo

NAMES = ("cat", "dog", "an owl with a name that is too long for any image")


def colored(drawn, k):
    """Mask of the pixels that have the color of class `k`: bool (height, width)."""
    return (drawn == np.array(class_color(k))).all(axis=-1)


@pytest.mark.parametrize(("size", "factor"), [((64, 64), 6), ((8, 8), 48), ((300, 384), 1), ((1024, 700), 1)])
def test_small_images_are_enlarged(size, factor):
    image = np.random.default_rng(0).integers(0, 256, (*size, 1), np.uint8)
    drawn = draw_boxes(image, np.zeros((1, 4)), np.array([-1]), NAMES)
    np.testing.assert_array_equal(drawn, np.repeat(image.repeat(factor, 0).repeat(factor, 1), 3, axis=2))
    assert draw_mask(image, np.zeros(size, np.uint8), NAMES).shape == drawn.shape
    assert max(drawn.shape) >= SMALL


def test_boxes_are_drawn_at_their_coordinates():
    drawn = draw_boxes(np.zeros((400, 600, 3), np.uint8), np.array([[100, 50, 300, 250.0]]), np.array([1]), NAMES)
    rows, columns = np.nonzero(colored(drawn, 1)[52:])  # below the name
    assert (columns.min(), columns.max()) == (100, 299)
    assert rows.max() + 52 == 249
    assert not colored(drawn, 1)[60:240, 110:290].any()


def test_masks_leave_the_background_clear_and_paint_void_gray():
    image = np.full((400, 400, 3), 200, np.uint8)
    mask = np.zeros((400, 400), np.uint8)
    mask[100:300, 100:200], mask[:50] = 1, VOID
    drawn = draw_mask(image, mask, NAMES)
    np.testing.assert_array_equal(drawn[310:], image[310:])
    assert (drawn[:50] == 167).all()
    assert colored(drawn, 0)[100, 100:200].all()
    assert (drawn[110, 150] != image[110, 150]).any() and not colored(drawn, 0)[110, 150]


def test_each_region_that_is_large_enough_is_labeled():
    mask = np.zeros((400, 400), np.uint8)
    mask[50:150, 50:150] = mask[250:350, 250:350] = 1  # two of one class
    mask[300:306, 20:26] = 2
    drawn = draw_mask(np.full((400, 400, 3), 200, np.uint8), mask, NAMES)
    named = [colored(drawn, 0)[top : top + 100, top : top + 100][10:90, 10:90] for top in (50, 250)]
    assert all(ground.any() for ground in named)
    np.testing.assert_array_equal(*named)
    rows, columns = np.nonzero(colored(drawn, 1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (300, 305, 20, 25)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 80), st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_any_box_and_any_mask_can_be_drawn(height, width, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    corners = rng.uniform(-5, 85, (6, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    drawn = draw_boxes(image, boxes, rng.integers(-1, 3, 6), NAMES, rng.uniform(0, 1, 6))
    assert drawn.dtype == np.uint8 and drawn.shape[2] == 3
    mask = rng.choice(np.array([0, 1, 2, 3, VOID], np.uint8), (height, width))
    assert draw_mask(image, mask, NAMES).shape == drawn.shape


def test_neighboring_colors_are_far_from_each_other():
    colors = np.array([class_color(k) for k in range(20)], float)
    gaps = np.linalg.norm(colors[1:] - colors[:-1], axis=1)
    assert gaps.min() > 100 and len({tuple(row) for row in colors}) == 20


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([(32, 32, 3), (24, 40, 1)]))
def test_letterboxed_photos_are_complete(tmp_path_factory, height, width, shape):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(np.full((height, width), 255, np.uint8)).save(path)
    photo, image, position = read_photo(path, Preparation(shape, "letterbox"))
    assert photo.shape == (height, width, shape[2]) and image.shape == shape
    rows, columns = np.nonzero(image[..., 0])
    covered = [[[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]]
    assert (image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == 255).all()
    mapped = position.to_photo({"boxes": np.array(covered, float), "mask": (image[None, ..., 0] > 0).astype(np.uint8)})
    np.testing.assert_allclose(mapped["boxes"][0, 0], [0, 0, width, height], atol=1e-6)
    assert mapped["mask"].shape == (1, height, width) and mapped["mask"].all()


def test_predictions_are_mapped_back_to_the_photo(tmp_path):
    pixels = np.zeros((100, 50), np.uint8)
    pixels[40:60, 10:30] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    _, image, position = read_photo(tmp_path / "photo.png", Preparation((50, 50, 1), "letterbox"))
    mask = (image[None, ..., 0] > 127).astype(np.uint8)
    rows, columns = np.nonzero(mask[0])
    box = np.array([[[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]], float)
    mapped = position.to_photo({"boxes": box, "mask": mask, "scores": np.ones((1, 1))})
    np.testing.assert_allclose(mapped["boxes"][0, 0], [10, 40, 30, 60])
    np.testing.assert_array_equal(mapped["mask"][0], pixels > 0)
    assert mapped["scores"] == 1

"""Boxes and masks go where the pixels of their image go."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cifar.augmentation import Augmentation, Batch, Geometric
from cifar.augmentation.boxes import MIN_VISIBLE, move_boxes
from cifar.augmentation.geometric import affine
from cifar.augmentation.resampling import resample, resample_mask
from cifar.config.registry import AUGMENTATIONS
from cifar.interfaces import VOID

HEIGHT, WIDTH = 12, 16

numbers = st.floats(-1, 1, width=32)
seeds = st.integers(0, 2**32 - 1)


def matrices(seed, count=4):
    """float32 (count, 3, 3): turned, slanted, stretched, mirrored and shifted."""
    rng = np.random.default_rng(seed)
    linear = rng.uniform(-1.5, 1.5, (count, 2, 2))
    assume((np.abs(np.linalg.det(linear)) > 0.3).all())
    matrix = np.tile(np.eye(3), (count, 1, 1))
    matrix[:, :2, :2], matrix[:, :2, 2] = linear, rng.uniform(-6, 6, (count, 2))
    return matrix.astype("float32")


def boxes_of(seed, count=4, objects=3):
    """float32 (count, objects, 4): boxes within the image, at least a pixel wide and high."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(0, [WIDTH - 2, HEIGHT - 2], (count, objects, 2))
    last = first + rng.uniform(1, [WIDTH, HEIGHT] - first)
    return np.concatenate([first, last], axis=-1).astype("float32")


def by_hand(box, matrix):
    """The box, the share of it that stays in the image, and what holds its corners, in plain NumPy, in float64."""
    middle, back = np.array([WIDTH, HEIGHT]) / 2, np.linalg.inv(matrix.astype("float64"))
    corners = np.array([[x, y] for x in box[::2] for y in box[1::2]], "float64") - middle
    places = corners @ back[:2, :2].T + back[:2, 2] + middle
    whole = np.concatenate([places.min(axis=0), places.max(axis=0)])
    cut = np.clip(whole, 0, [WIDTH, HEIGHT] * 2)
    return cut, np.prod(cut[2:] - cut[:2]) / np.prod(whole[2:] - whole[:2])


@settings(deadline=None, max_examples=60)
@given(seeds)
def test_boxes_are_those_that_hold_the_moved_corners(seed):
    matrix, boxes = matrices(seed), boxes_of(seed)
    classes = np.random.default_rng(seed).integers(-1, 4, boxes.shape[:2])
    found = move_boxes({"boxes": boxes, "classes": classes, "crowd": classes == 3}, matrix, (HEIGHT, WIDTH))
    for i, j in np.ndindex(*classes.shape):
        box, share = by_hand(boxes[i, j], matrix[i])
        assume(abs(share - MIN_VISIBLE) > 1e-3)
        there = classes[i, j] >= 0 and share > MIN_VISIBLE
        np.testing.assert_allclose(found["boxes"][i, j], box if there else np.zeros(4), atol=2e-3)
        assert found["classes"][i, j] == (classes[i, j] if there else -1)
        assert bool(found["crowd"][i, j]) == (there and classes[i, j] == 3)


@settings(deadline=None, max_examples=40)
@given(seeds, st.sampled_from(["nearest", "reflect", "wrap", "constant"]))
def test_mask_is_of_the_pixel_that_is_nearest_in_the_image(seed, fill_mode):
    """Where a pixel shows one pixel of the image alone, so does the mask; elsewhere, the one of the greatest weight."""
    matrix = matrices(seed)
    mask = np.random.default_rng(seed).integers(0, 9, (4, HEIGHT, WIDTH), dtype=np.uint8)
    onehot = np.eye(9, dtype="uint8")[mask] * 255
    weights = resample(onehot, matrix, fill_mode).numpy() / 255
    found = resample_mask(mask, matrix, fill_mode).numpy()
    clear = weights.max(axis=-1) > 0.75 + 1e-3
    np.testing.assert_array_equal(found[clear], weights.argmax(axis=-1)[clear])
    if fill_mode == "constant":
        outside = weights.sum(axis=-1) == 0
        assert (found[outside] == VOID).all()
    else:
        assert (found < 9).all()


def test_outside_of_a_black_surrounding_the_mask_is_void():
    shift = affine(1, dx=float(WIDTH))
    assert (resample_mask(np.ones((1, HEIGHT, WIDTH), np.uint8), shift, "constant").numpy() == VOID).all()
    assert (resample_mask(np.ones((1, HEIGHT, WIDTH), np.uint8), shift, "nearest").numpy() == 1).all()


@settings(deadline=None, max_examples=20)
@given(st.booleans(), st.booleans(), st.integers(-5, 5), st.integers(-5, 5), seeds)
def test_mirrored_and_shifted_by_whole_pixels_they_agree_with_arrays_turned_by_hand(across, down, dx, dy, seed):
    """A filled rectangle stays one: image, mask and box say the same to the pixel."""
    left, top, right, bottom = (round(float(edge)) for edge in boxes_of(seed, 1, 1)[0, 0])
    assume(right > left and bottom > top)
    mask = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    mask[0, top:bottom, left:right] = 1
    matrix = affine(1, xx=-1.0 if across else 1.0, yy=-1.0 if down else 1.0, dx=float(dx), dy=float(dy))
    transforms = {"given": Geometric(lambda draw: matrix)}
    targets = {
        "boxes": np.array([[[left, top, right, bottom]]], "float32"),
        "classes": np.zeros((1, 1), "int64"),
        "mask": mask,
    }
    images, found = Augmentation(transforms, "constant").apply(
        mask[..., None] * np.uint8(200), targets, dict, Batch(0, 0, 0, np.arange(1))
    )

    step = mask[0, :: -1 if down else 1, :: -1 if across else 1]
    by_hand = np.zeros_like(step)
    shift_x, shift_y = (dx if across else -dx), (dy if down else -dy)
    for y, x in np.argwhere(step):
        if 0 <= y + shift_y < HEIGHT and 0 <= x + shift_x < WIDTH:
            by_hand[y + shift_y, x + shift_x] = 1
    np.testing.assert_array_equal(images[0, ..., 0], by_hand * 200)
    np.testing.assert_array_equal(found["mask"][0] == 1, by_hand == 1)
    share = by_hand.sum() / mask.sum()
    assume(share == 0 or abs(share - MIN_VISIBLE) > 1e-6)
    if share > MIN_VISIBLE:
        rows, columns = np.nonzero(by_hand)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(found["boxes"][0, 0], edges, atol=1e-4)
    else:
        assert found["classes"][0, 0] == -1


@pytest.mark.parametrize("name", ["rotation", "zoom", "shear"])
def test_every_moved_object_lies_in_its_moved_box(name):
    setting = {"rotation": {"degrees": 30}, "zoom": {"amount": 0.3}, "shear": {"degrees": 20}}[name]
    transforms = {name: AUGMENTATIONS.build({"name": name, **setting})}
    mask = np.zeros((64, 40, 40), np.uint8)
    mask[:, 14:24, 12:28] = 1
    targets = {
        "boxes": np.tile(np.float32([[[12, 14, 28, 24]]]), (64, 1, 1)),
        "classes": np.zeros((64, 1), "int64"),
        "mask": mask,
    }
    _, found = Augmentation(transforms, "constant").apply(mask[..., None], targets, dict, Batch(1, 2, 3, np.arange(64)))
    assert len({box.tobytes() for box in found["boxes"].numpy()}) > 60
    for turned, (left, top, right, bottom) in zip(found["mask"].numpy(), found["boxes"].numpy()[:, 0], strict=True):
        rows, columns = np.nonzero(turned == 1)
        assert left - 0.51 <= columns.min() <= columns.max() + 1 <= right + 0.51
        assert top - 0.51 <= rows.min() <= rows.max() + 1 <= bottom + 0.51


def test_photometric_transforms_leave_boxes_and_masks():
    transforms = {"brightness": AUGMENTATIONS.build({"name": "brightness", "amount": 0.3})}
    targets = {"boxes": tf.constant(boxes_of(0)), "mask": tf.zeros([4, HEIGHT, WIDTH], tf.uint8)}
    _, found = Augmentation(transforms).apply(
        tf.zeros([4, HEIGHT, WIDTH, 1], tf.uint8), targets, dict, Batch(0, 0, 0, np.arange(4))
    )
    assert all(found[name] is targets[name] for name in targets)

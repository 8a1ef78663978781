"""What all data sets of photos share: letterbox, splits, and a mistake that ends `run.py` in one line."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar.data.annotated.base import rarest
from cifar.data.photos.splitting import exact_split, split_off
from cifar.images.photos import Preparation
from cifar.images.placement import Placement
from cifar.interfaces import VOID, Resize
from cifar.runtime.errors import InputError
from helpers.annotated_files import WRITERS, build, photo, refusal
from helpers.pictures import read_photo

NAMES = pytest.mark.parametrize("name", WRITERS)
SIDES = st.integers(1, 90)


@given(SIDES, SIDES, st.sampled_from(get_args(Resize)), st.data())
def test_box_and_mask_are_moved_alike(height, width, resize, data):
    left, right = sorted(data.draw(st.lists(st.integers(0, width), min_size=2, max_size=2, unique=True)))
    top, bottom = sorted(data.draw(st.lists(st.integers(0, height), min_size=2, max_size=2, unique=True)))
    shape = 24, 20
    position = Placement.of((height, width), shape, resize)
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = 7
    found = position.mask_to_image(mask)
    box = position.boxes_to_image(np.array([[left, top, right, bottom]], np.float64))[0]
    rows, columns = (np.arange(side) + 0.5 for side in shape)
    inside = ((rows > box[1]) & (rows < box[3]))[:, None] & (columns > box[0]) & (columns < box[2])
    edge = (np.abs(rows[:, None] - box[[1, 3]]).min(axis=1) < 1e-6)[:, None] | (
        np.abs(columns[:, None] - box[[0, 2]]).min(axis=1) < 1e-6
    )
    assert (((found == 7) == inside) | edge).all()
    back = position.to_photo({"boxes": box[None], "mask": found[None]})
    if resize == "crop":
        assert (found != VOID).all() and (back["boxes"] >= 0).all()
        assert position.covered == (0, 0, *shape)
    else:
        assert box.min() >= -1e-9 and (box <= [shape[1] + 1e-9, shape[0] + 1e-9] * 2).all()
        assert np.abs(back["boxes"][0] - [left, top, right, bottom]).max() < 1e-6
        (first, start, last, end), count = position.covered, (found != VOID).sum()
        assert count == (last - first) * (end - start) and (resize == "letterbox" or count == found.size)
        assert set(np.unique(back["mask"])) <= {0, 7}
    assert back["mask"].shape == (1, height, width)


def test_a_letterbox_is_black_around_the_photo(tmp_path):
    for number in range(4):
        height, width = photo(tmp_path / "photo.png", number)
        whole, image, position = read_photo(tmp_path / "photo.png", Preparation((16, 16, 3), "letterbox"))
        covered = position.mask_to_image(np.zeros((height, width), np.uint8)) == 0
        assert whole.shape[:2] == (height, width) and not image[~covered].any() and image[covered].any()


@given(st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=30))
def test_rarest_class(classes):
    found = rarest([np.array(labels, np.int64) for labels in classes], 5)
    counts = [sum(label in labels for labels in classes) for label in range(5)]
    for group, labels in zip(found, classes, strict=True):
        assert group == 5 if not labels else counts[group] == min(counts[label] for label in labels)


def test_an_empty_part_is_refused():
    with pytest.raises(InputError, match=r"data\.x=0\.5: splits 0 images into 0 and 0"):
        split_off(np.empty(0, np.int64), 0.5, 0, "data.x")


@NAMES
def test_size_and_limit(name, tmp_path):
    root = WRITERS[name](tmp_path)
    dataset = build(name, root, size=21, limit=8)
    assert dataset.image_shape == (21, 21, 3) and len(dataset.train) + len(dataset.val) == 8
    for split in (dataset.train, dataset.val, dataset.test):
        for target, array in split.targets.items():
            expected = {"boxes": np.float32, "classes": np.int64, "crowd": bool, "mask": np.uint8}[target]
            assert array.dtype == expected and len(array) == len(split)
    assert build(name, root, size=21, limit=8, seed=1).test_fingerprint == dataset.test_fingerprint


@NAMES
def test_damaged_photo_is_named(name, tmp_path):
    root = WRITERS[name](tmp_path)
    for number, file in enumerate(sorted(root.rglob("*.jpg"))):
        file.write_bytes(file.read_bytes()[: 40 + number])
    assert ".jpg: cannot be read" in refusal(name, root)


@NAMES
def test_run_ends_in_one_line(name, tmp_path, mistake):
    root = WRITERS[name](tmp_path / "data")
    for file in (*root.rglob("*.json"), *root.rglob("*.xml"), *root.rglob("*.png"), *root.rglob("*.yaml")):
        file.write_bytes(b"<")
    line = mistake(f"data={name}", f"data.path={root}")
    assert str(root) in line and "accepted" in line


@given(st.lists(st.integers(1, 30), min_size=1, max_size=80), st.floats(0.01, 0.99), st.integers(0, 9))
def test_fractions_are_exact_over_all_groups(counts, fraction, seed):
    group = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    rest, cut = exact_split(group, fraction, seed)
    assert np.array_equal(np.sort(np.concatenate([rest, cut])), np.arange(len(group)))
    taken = np.bincount(group[cut], minlength=len(counts))
    assert (taken <= np.maximum(np.ceil(np.array(counts) * fraction + 1e-6), 0)).all() and (taken < counts).all()
    room = sum(min(count - 1, math.floor(count * fraction + 1e-9) + 1) for count in counts)
    assert len(cut) <= math.floor(len(group) * fraction + 0.5)
    assert len(cut) == math.floor(len(group) * fraction + 0.5) or len(cut) <= room


@pytest.mark.parametrize("counts", [[5] * 80, [48 // k for k in range(1, 49)]])
def test_fractions_of_many_classes(counts):
    group = np.repeat(np.arange(len(counts)), counts)
    assert len(exact_split(group, 0.1, 0)[1]) == round(sum(counts) / 10)

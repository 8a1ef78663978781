"""Photos brought to the size and shape of a model's images, with their boxes and masks."""

from __future__ import annotations

import io
import itertools
import json
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from cifar.images.io import ORIENTATION, open_image
from cifar.images.photos import Preparation, prepare
from cifar.interfaces import VOID, Resize
from cifar.tracking import runs
from helpers import annotated_files, data_files
from helpers.pictures import read_image

RESIZES = pytest.mark.parametrize("resize", get_args(Resize))


@pytest.fixture
def marked(tmp_path):
    """Photos of 60×40 with a white rectangle, its box in YOLO's form, and its mask."""
    for number, (split, name) in enumerate(itertools.product(("train", "val", "test"), "ab")):
        for folder in ("images", "labels", "masks"):
            (tmp_path / folder / split).mkdir(parents=True, exist_ok=True)
        inside = np.zeros((40, 60), np.uint8)
        inside[8:32, 18:54] = 1
        Image.fromarray(inside * np.uint8(250 - number)).convert("RGB").save(
            tmp_path / "images" / split / f"{name}.png"
        )
        Image.fromarray(inside).save(tmp_path / "masks" / split / f"{name}.png")
        (tmp_path / "labels" / split / f"{name}.txt").write_text(f"0 {36 / 60} {20 / 40} {36 / 60} {24 / 40}\n")
    splits = {split: f"images/{split}" for split in ("train", "val", "test")}
    annotated_files.write_json(tmp_path / "data.yaml", {**splits, "names": ["white"]})
    return tmp_path


@RESIZES
@pytest.mark.parametrize("size", [30, [20, 36]], ids=str)
def test_boxes_and_masks_follow_the_photo(marked, resize, size):
    """Where the white rectangle is seen, its box and its mask are."""
    settings = {"size": size, "resize": resize}
    boxes = annotated_files.build("yolo", marked, wanted=("boxes",), **settings).test
    masks = annotated_files.build("masks", marked, classes=["white"], **settings).test
    height, width = (size, size) if isinstance(size, int) else size
    for row in range(2):
        assert boxes.ids[row] == masks.ids[row] == f"images/test/{'ab'[row]}.png"
        image = boxes.images[row][..., 0]
        assert image.shape == (height, width) and np.array_equal(masks.images[row][..., 0], image)
        ys, xs = np.nonzero(image > 127)
        box = boxes.targets["boxes"][row, 0]
        assert np.abs(box - [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).max() <= 1
        mask = masks.targets["mask"][row]
        assert ((mask == 1) != (image > 127)).mean() < 0.02
        assert (mask == VOID).any() == (resize == "letterbox")


def test_an_object_out_of_the_crop_is_no_target(marked):
    for split in ("train", "test"):
        lines = ["0 0.6 0.5 0.6 0.6", "0 0.05 0.5 0.1 0.5", "0 0.2 0.5 0.1 0.5"]  # x from 0 to 6, and from 9 to 15
        (marked / "labels" / split / "a.txt").write_text("\n".join(lines) + "\n")
    found = annotated_files.build("yolo", marked, size=20, resize="crop", wanted=("boxes",)).test.targets
    assert found["classes"][0].tolist() == [0, 0]
    assert found["boxes"][0].tolist() == [[4, 4, 20, 16], [0, 5, 2.5, 15]]


@pytest.mark.parametrize("name", ["coco", "voc", "pets", "table", "folder"])
def test_every_loader_takes_height_and_width(name, tmp_path):
    writers = {**annotated_files.WRITERS, "table": data_files.write_table, "folder": data_files.write_folder}
    for resize in get_args(Resize):
        root = writers[name](tmp_path / resize)
        dataset = annotated_files.build(name, root, size=[12, 20], resize=resize)
        assert dataset.image_shape == (12, 20, 3) and dataset.description["resize"] == resize


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("[12,20,3]", "data.size=[12, 20, 3]: should have at most 2 items"),
        ("0", "data.size=0: should be greater than 0"),
        ("[0,20]", "data.size.0=0: should be greater than 0"),
        ("big", "data.size=big: should be a valid integer"),
    ],
)
def test_other_sizes_are_refused(size, message, mistake):
    assert message in mistake("data=folder", "data.path=nowhere", f"data.size={size}")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_exif_says(orientation):
    """Each of the eight orientations, held against its definition in the standard."""
    upright = np.arange(6 * 4, dtype=np.uint8).reshape(4, 6) * 10
    # How the rows and columns that are stored lie in the upright picture.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: upright.T[::-1], 7: upright.T[::-1, ::-1], 8: upright.T[:, ::-1],
    }[orientation]  # fmt: skip
    file, exif = io.BytesIO(), Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(file, "PNG", exif=exif)
    photo = prepare(open_image(file, "x"), Preparation((4, 6, 1), "crop"), "x")
    assert np.array_equal(photo.image[..., 0], upright) and photo.position.size == (4, 6)


@RESIZES
def test_jpegs_decoded_at_a_reduced_size_are_like_whole_ones(resize):
    random = np.random.default_rng(0)
    pixels = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8)).resize(
        (1200, 896), Image.Resampling.BICUBIC
    )
    file = io.BytesIO()
    pixels.save(file, "JPEG", quality=92)
    found, expected = (
        prepare(open_image(file, "x"), Preparation((48, 80, 3), resize, drafts), "x").image.astype(int)
        for drafts in (True, False)
    )
    assert 0 < np.abs(found - expected).mean() <= 1


def test_whole_photos_are_resized_as_pillow_does_it(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 90, 3), np.uint8)).save(tmp_path / "x.png")
    for shape in ((16, 16, 3), (20, 9, 1), (37, 90, 3)):
        found = prepare(open_image(tmp_path / "x.png", "x"), Preparation(shape, "crop"), "x").image
        assert np.array_equal(found, read_image(tmp_path / "x.png", shape))


def test_the_record_of_a_data_set_says_how_photos_are_prepared(tmp_path, monkeypatch):
    description = {"name": "x", "class_names": ["a"], "image_shape": [4, 6, 3], "images": {"train": 3},
                   "invalid": {"skipped photos": 1}, "resize": "stretch"}  # fmt: skip
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    monkeypatch.setattr(runs, "stored", lambda *arguments: (None, tmp_path / "dataset.json"))
    found = runs.placeholder_dataset(SimpleNamespace(id="0"))
    assert (found.resize, found.image_shape) == ("stretch", (4, 6, 3))

"""YOLO's label files in the folders of the programs that write them."""

from __future__ import annotations

import re

import numpy as np
import pytest
import yaml
from PIL import Image

from cifar.interfaces import VOID
from helpers.annotated_files import SIZES, build, refusal, whole, whole_box, write_yolo, write_yolo_photos

BOXES = ("boxes", "classes", "crowd")


@pytest.fixture
def root(tmp_path):
    return write_yolo(tmp_path)


def sizes(dataset):
    return [len(split) for split in (dataset.train, dataset.val, dataset.test)]


def test_boxes_are_those_of_the_lines(root):
    dataset = build("yolo", root)
    assert dataset.class_names == ("ant", "bee", "cat") and sizes(dataset) == [8, 3, 3]
    assert set(dataset.train.targets) == {*BOXES}
    for row, number in enumerate(range(11, 14)):
        height, width = SIZES[number % 4]
        expected = [(width / 4, height * 3 / 8, width * 3 / 4, height * 5 / 8), (0, 0, width / 2, height / 2)]
        boxes = [whole_box(box, (height, width), 16) for box in expected]
        assert np.abs(dataset.test.targets["boxes"][row] - boxes).max() < 0.5
        assert dataset.test.targets["classes"][row].tolist() == [number % 3, 0]


def test_polygons_are_masks_and_boxes(tmp_path):
    dataset = build("yolo", write_yolo(tmp_path, polygons=True), wanted=("mask",))
    height, width = SIZES[11 % 4]
    mask = np.zeros((height, width), np.uint8)
    mask[3 : height - 2, 2 : width - 2] = 11 % 3 + 1
    assert np.array_equal(dataset.test.targets["mask"][0], whole(mask, 16, Image.Resampling.NEAREST, VOID))
    box = whole_box((2, 3, width - 2, height - 2), (height, width), 16)
    assert np.abs(dataset.test.targets["boxes"][0, 0] - box).max() < 0.5
    assert "mask" not in build("yolo", tmp_path, wanted=BOXES).test.targets


@pytest.mark.parametrize(
    "config",
    [
        {"names": {0: "ant", 1: "bee", 2: "cat"}, "path": "/home/me/datasets/mine"},
        {"train": "../images/train", "val": "C:\\data\\images\\val", "test": ["./images/test"]},
        {"train": "train.txt"},
    ],
)
def test_other_forms_mean_the_same(root, config):
    expected = build("yolo", root)
    (root / "train.txt").write_text("".join(f"/home/me/images/train/{number:02}.jpg\n" for number in range(8)))
    assert build("yolo", write_yolo(root, **config)).fingerprint == expected.fingerprint


def test_folders_of_roboflow(tmp_path, capsys):
    for split, numbers in (("train", range(12)), ("valid", range(12, 15))):
        write_yolo_photos(tmp_path, f"{split}/images", f"{split}/labels", numbers)
    places = {"train": "../train/images", "val": "../valid/images", "test": "../test/images"}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({**places, "nc": 3, "names": ["ant", "bee", "cat"]}))
    assert sizes(build("yolo", tmp_path)) == [10, 3, 2]
    assert "test: ../test/images: no such folder or list" in capsys.readouterr().err


def test_folders_without_a_config(tmp_path):
    write_yolo_photos(tmp_path, "images", "labels", range(16))
    (tmp_path / "classes.txt").write_text("ant\nbee\ncat\n")
    dataset = build("yolo", tmp_path)
    assert dataset.class_names == ("ant", "bee", "cat") and sum(sizes(dataset)) == 16 and len(dataset.test) == 3


def test_photos_without_labels_have_no_objects(root, capsys):
    (root / "labels" / "test" / "11.txt").unlink()
    (root / "labels" / "test" / "12.txt").write_text("")
    classes = build("yolo", root).test.targets["classes"]
    assert (classes[:2] == -1).all() and (classes[2] >= 0).all()
    assert "1 photos have no label file, and so no objects, such as images/test/11.jpg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0.5 0.5 0.5", "11.txt: line 1: 4 numbers; accepted: class, x, y, width, height"),
        ("3 0.5 0.5 0.5 0.5", "11.txt: line 1: class 3; accepted: 0 to 2"),
        ("ant 0.5 0.5 0.5 0.5", "11.txt: line 1: 'ant'; accepted: a finite number"),
        ("0 12 9 8 7", "11.txt: line 1: .* accepted: coordinates divided by"),
        ("0 0.9 0.5 0.5 0.5", "11.txt: line 1: box .* exceeds the image"),
        ("0 0.5 0.5 0 0.5", "11.txt: line 1: box .* has no area"),
        ("0 0.1 0.1 0.5 0.1 0.5 0.5 0.1", "11.txt: line 1: 8 numbers"),
    ],
)
def test_broken_lines(root, line, expected):
    (root / "labels" / "test" / "11.txt").write_text(f"{line}\n")
    assert re.search(expected, refusal("yolo", root))
    assert len(build("yolo", root, on_invalid="skip").test) == 3


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"names": None}, "data.yaml: names: cannot be read .*they are missing"),
        ({"names": {1: "ant"}}, "names: cannot be read .*the numbers are not 0, 1"),
        ({"names": ["ant", "ant"]}, "class 'ant' is empty or repeated"),
        ({"train": "photos"}, "data.yaml: train: photos: no such folder or list"),
    ],
)
def test_broken_config(root, config, expected):
    assert re.search(expected, refusal("yolo", write_yolo(root, **config)))


def test_a_folder_of_something_else(tmp_path):
    assert "has no data.yaml; accepted: a folder with data.yaml" in refusal("yolo", tmp_path)
    (tmp_path / "data.yaml").write_text("- a list")
    assert "data.yaml: cannot be read (ValueError: it is no mapping)" in refusal("yolo", tmp_path)

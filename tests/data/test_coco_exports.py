"""COCO's JSON as different programs write it: types, paths, folders, and what detection does not need."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from helpers.annotated_files import COCO_TEST as TEST
from helpers.annotated_files import altered, build, coco_content, refusal, write_coco, write_json

BOXES = ("boxes", "classes", "crowd")


@pytest.fixture
def root(tmp_path):
    return write_coco(tmp_path)


def as_text(content):
    """Write numbers in other types."""
    for image in content["images"]:
        image.update(id=str(image["id"]), width=float(image["width"]))
    for annotation in content["annotations"]:
        annotation["iscrowd"] = str(annotation["iscrowd"]) if annotation["iscrowd"] else None
        annotation.update(bbox=[*map(str, annotation["bbox"])], image_id=float(annotation["image_id"]))
        annotation.pop("id")
        if isinstance(annotation["segmentation"], dict):
            annotation["segmentation"]["size"] = [*map(float, annotation["segmentation"]["size"])]
    content["categories"][0].update(id="7")


def without_sizes(content):
    for image in content["images"]:
        image.update(width=None)
        image.pop("height")


def with_unused_category(content):
    content["categories"].insert(0, {"id": 0, "name": "bee", "supercategory": "none"})


@pytest.mark.parametrize("change", [as_text, without_sizes, with_unused_category])
def test_other_types_mean_the_same(root, change):
    expected = build("coco", root)
    for file in (TEST, "annotations/instances_train2017.json"):
        altered(root, change, file)
    assert build("coco", root).fingerprint == expected.fingerprint


def test_name_of_a_number_and_byte_order_mark(root):
    altered(root, lambda content: content["categories"][0].update(name=7))
    content = json.loads((root / TEST).read_text())
    (root / TEST).write_text("\ufeff" + json.dumps(content))
    assert build("coco", root, train="val2017", test="train2017").class_names[1] == "7"


def test_categories_without_annotations_are_no_classes(root):
    with_cow = altered(root, lambda content: content["categories"].append({"id": 4, "name": "cow"}))
    assert build("coco", with_cow).class_names == ("ant", "cat", "bee")
    assert build("coco", with_cow, classes="all").class_names == ("ant", "cat", "bee", "cow")
    chosen = build("coco", with_cow, classes=["bee", "ant"]).test.targets["classes"]
    assert set(np.unique(chosen)) == {-1, 0, 1}


@pytest.mark.parametrize("segmentation", [None, [[]], [[1, 1, 5, 5]], [[1, 1, 90, 1, 5, 5]], {"counts": "??"}])
def test_detection_reads_no_segmentation(root, segmentation):
    expected = build("coco", root, wanted=BOXES)
    assert "mask" not in expected.train.targets
    altered(root, lambda content: content["annotations"][0].update(segmentation=segmentation))
    assert build("coco", root, wanted=BOXES).fingerprint == expected.fingerprint
    assert "annotation 100" in refusal("coco", root, wanted=("mask",))


def test_paths_of_another_machine(root):
    expected = build("coco", root).test_fingerprint
    names = ["val2017\\012.jpg", "C:\\data\\val2017\\013.JPG", "/home/me/val2017/014.png", "../x/015.jpg"]

    def rename(content):
        for image, name in zip(content["images"], names, strict=True):
            image["file_name"] = name

    altered(root, rename)
    assert build("coco", root).test_fingerprint == expected
    (root / "val2017" / "old").mkdir()
    (root / "val2017" / "new").mkdir()
    for folder in ("old", "new"):
        (root / "val2017" / folder / "012.jpg").write_bytes((root / "val2017/012.jpg").read_bytes())
    (root / "val2017" / "012.jpg").unlink()
    line = refusal("coco", root)
    assert "image 12: 'val2017\\\\012.jpg' may be " in line and "new/012.jpg or " in line


def test_export_of_roboflow(tmp_path):
    for split, photos, first in (("train", 8, 0), ("valid", 3, 8), ("test", 3, 11)):
        content = coco_content(tmp_path / split, photos, first)
        content["categories"].append({"id": 0, "name": "animals", "supercategory": "none"})
        write_json(tmp_path / split / "_annotations.coco.json", content)
    dataset = build("coco", tmp_path)
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [8, 3, 3]
    assert dataset.class_names == ("ant", "cat", "bee") and dataset.val.ids[0] == "valid/008.jpg"


def test_splits_of_cvat(tmp_path):
    for split, photos, first in (("Train", 8, 0), ("Validation", 3, 8), ("Test", 3, 11)):
        content = coco_content(tmp_path / "images" / split, photos, first)
        write_json(tmp_path / "annotations" / f"instances_{split}.json", content)
    dataset = build("coco", tmp_path)
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [8, 3, 3]


@pytest.mark.parametrize(
    ("folder", "file"),
    [("images", "annotations/instances_default.json"), ("images", "result.json"), ("", "labels.json")],
)
def test_one_file_is_cut_by_the_fractions(tmp_path, folder, file):
    write_json(tmp_path / file, coco_content(tmp_path / folder, 16))
    dataset = build("coco", tmp_path)
    assert len(dataset.test) in (3, 4) and sum(map(len, (dataset.train, dataset.val, dataset.test))) == 16
    assert dataset.test_fingerprint == build("coco", tmp_path, seed=1).test_fingerprint
    write_json(tmp_path / "other.json", {})
    assert "files with annotations are not clear" in refusal("coco", tmp_path)


def test_invalid_ones_are_reported_clipped_or_skipped(root, capsys):
    def spoil(content):
        images, annotations = content["images"], content["annotations"]
        annotations[0]["bbox"] = [2, 2, images[0]["width"] + 3, 5]
        annotations[1]["bbox"] = [3, 3, 4, 0]
        images[1]["file_name"] = "none.jpg"

    altered(root, spoil)
    (root / "val2017" / "014.jpg").write_bytes(b"no photo")
    line = refusal("coco", root)
    assert "annotation 100 of 012.jpg: box 2, 2, 37, 7" in line and "annotation 101" in line and "none.jpg" in line
    moved = refusal("coco", root, on_invalid="clip")
    assert "annotation 100" not in moved and "annotation 101" in moved
    dataset = build("coco", root, on_invalid="skip")
    assert [*dataset.test.ids] == ["val2017/012.jpg", "val2017/015.jpg"]
    assert dataset.test.targets["boxes"][0, 0].tolist() == [1, 4, 16, 6.5]
    counts = {"clipped boxes": 1, "skipped photos": 2, "skipped annotations": 1}
    assert dataset.invalid == counts and dataset.description["invalid"] == counts
    assert "2 skipped photos, 1 skipped annotations, 1 clipped boxes: " in capsys.readouterr().err


def test_several_broken_photos_are_counted(root):
    for file in sorted((root / "train2017").iterdir())[:5]:
        file.write_bytes(file.read_bytes()[:200])
    line = refusal("coco", root)
    assert line.count(".jpg: cannot be read") == 3 and line.endswith("; and 2 more")


def test_photo_turned_by_exif(root):
    photo = root / "val2017" / "012.jpg"
    with Image.open(photo) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(photo, exif=exif)
    assert "012.jpg: has 20×32 pixels when it is turned as its EXIF orientation says" in refusal("coco", root)


def test_more_classes_than_a_mask_has_values(root):
    def number(content):
        content["categories"] = [{"id": k, "name": f"class {k}"} for k in range(300)]

    for file in (TEST, "annotations/instances_train2017.json"):
        altered(root, number, file)
    assert len(build("coco", root, classes="all", wanted=BOXES).class_names) == 300
    assert "300 classes; accepted: 1 to 254" in refusal("coco", root, classes="all", wanted=("mask",))

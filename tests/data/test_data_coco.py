"""COCO: what its own tools say of the same files, and a line for each way in which a file can be wrong."""

from __future__ import annotations

import contextlib
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from cifar.data.annotated.rle import object_pixels, polygon_lengths, run_lengths
from cifar.interfaces import VOID
from cifar.runtime.errors import InputError
from helpers.annotated_files import COCO_TEST as TEST
from helpers.annotated_files import altered, build, overwrite, refusal, whole, whole_box, write_coco

TRAIN = "annotations/instances_train2017.json"


@pytest.fixture
def root(tmp_path):
    return write_coco(tmp_path)


def test_agrees_with_pycocotools(root):
    dataset = build("coco", root)
    assert dataset.class_names == ("ant", "cat", "bee")  # in the order of their ids
    reference = COCO(root / TEST)
    for row, number in enumerate(reference.getImgIds()):
        stated = reference.loadImgs(number)[0]
        shape = stated["height"], stated["width"]
        annotations = reference.loadAnns(reference.getAnnIds(number))
        labels = [sorted(reference.getCatIds()).index(annotation["category_id"]) for annotation in annotations]
        mask = np.zeros(shape, np.uint8)
        areas = np.array([reference.annToMask(annotation) for annotation in annotations], bool)
        for label in range(3):
            here = areas[np.array(labels) == label].any(axis=0)
            mask[here] = np.where(mask[here], VOID, label + 1)
        found = {name: target[row] for name, target in dataset.test.targets.items()}
        assert np.array_equal(found["mask"], whole(mask, 16, Image.Resampling.NEAREST, VOID))
        boxes = [whole_box((x, y, x + w, y + h), shape, 16) for x, y, w, h in (a["bbox"] for a in annotations)]
        assert np.abs(found["boxes"][: len(boxes)] - boxes).max() < 0.5
        assert found["classes"].tolist() == labels + [-1] * (len(found["classes"]) - len(labels))
        assert found["crowd"][: len(labels)].tolist() == [bool(annotation["iscrowd"]) for annotation in annotations]
        assert not found["boxes"][len(boxes) :].any() and not found["crowd"][len(boxes) :].any()
        photo = np.asarray(Image.open(root / "val2017" / stated["file_name"]))
        assert np.array_equal(dataset.test.images[row], whole(photo, 16, Image.Resampling.BILINEAR, 0))
    assert dataset.test.targets["boxes"].shape == (4, 3, 4) and dataset.test.targets["boxes"].dtype == np.float32


def mask_of(lengths, size):
    """The mask of run lengths, bool of `size` (height, width)."""
    columns = np.zeros(size[0] * size[1], bool)
    columns[object_pixels(lengths)] = True
    return columns.reshape(size[::-1]).T


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_packed_runs_are_those_of_pycocotools(area):
    packed = coco_masks.encode(np.asfortranarray(area.astype(np.uint8)))
    lengths = run_lengths(packed["counts"].decode(), packed["size"], area.shape, "here")
    assert np.array_equal(mask_of(lengths, area.shape), area)


def test_long_packed_runs():
    area = np.zeros((700, 900), np.uint8, order="F")
    area[300:400, 20:80] = area[5:650, 700] = 1
    packed = coco_masks.encode(area)
    lengths = run_lengths(packed["counts"].decode(), packed["size"], area.shape, "here")
    assert np.array_equal(mask_of(lengths, area.shape), area)


def test_polygons_of_an_object_are_joined():
    square, other = [1, 1, 5, 1, 5, 5, 1, 5], [6, 6, 8, 6, 8, 8, 6, 8]
    assert mask_of(polygon_lengths([square, other], (9, 9)), (9, 9)).sum() == 16 + 4


def test_without_segmentations_there_is_no_mask(root):
    for file in (TRAIN, TEST):
        altered(root, lambda content: [a.update(segmentation=[]) for a in content["annotations"]], file)
    assert set(build("coco", root).train.targets) == {"boxes", "classes", "crowd"}


def test_photos_without_objects(root):
    altered(root, lambda content: content.update(annotations=[]))
    targets = build("coco", root).test.targets
    assert targets["boxes"].shape == (4, 1, 4) and (targets["classes"] == -1).all()
    assert set(np.unique(targets["mask"])) == {0, VOID}


def test_splits_of_ones_own(root):
    given = build("coco", root, val="val2017", test=None, test_fraction=0.25)
    assert len(given.val) == 4 and len(given.train) == 9 and len(given.test) == 3
    assert "4 images are in both data.val and data.test" in refusal("coco", root, val="val2017", test="val2017")
    assert "in both data.train and data.test" in refusal("coco", root, train="train2017", test="train2017")
    expected = build("coco", root)
    renamed = {"train": "a", "test": "b", "annotations": "{split}.json", "images": "{split}_photos"}
    for split, name in (("train2017", "a"), ("val2017", "b")):
        (root / f"annotations/instances_{split}.json").rename(root / f"{name}.json")
        (root / split).rename(root / f"{name}_photos")
    assert build("coco", root, val=None, **renamed).test_fingerprint == expected.test_fingerprint


def test_validation_has_rare_classes_too(root):
    def rare(content):
        for annotation in content["annotations"]:
            annotation["category_id"] = 90 if annotation["image_id"] < 4 else 3

    dataset = build("coco", altered(root, rare, TRAIN))
    assert (dataset.val.targets["classes"] == 2).any(axis=1).sum() == 1


def test_broken_ones_can_be_left_out(root, capsys):
    expected = build("coco", root).test.targets

    def add(content):
        extra = {**content["annotations"][0], "bbox": [3, 3, 4, 0]}
        content["annotations"] += [{**extra, "id": 900 + k} for k in range(5)]

    altered(root, add)
    assert "annotation 900" in refusal("coco", root)
    found = build("coco", root, on_invalid="skip").test.targets
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1 and "annotation 902" in stderr and "5 skipped annotations" in stderr


def test_a_pixel_over_the_edge_is_clipped(root):
    def stick_out(content):
        width = content["images"][0]["width"]
        content["annotations"][0]["bbox"] = [-1, 2, width + 2, 5]
        content["annotations"][0]["segmentation"] = [[-1, 2, width + 1, 2, width + 1, 7, -1, 7]]

    before = build("coco", root).test.targets["mask"][0] == VOID
    targets = build("coco", altered(root, stick_out)).test.targets
    assert targets["boxes"][0, 0, [0, 2]].tolist() == [0, 16]
    assert before.any() and targets["mask"].shape == (4, 16, 16)


def first(field, value):
    return lambda content: content["annotations"][0].update({field: value})


def image(field, value):
    return lambda content: content["images"][1].update({field: value})


SMALL = {"size": [20, 32], "counts": [640]}
BROKEN = {
    "zero width": (first("bbox", [1, 1, 0, 5]), "annotation 100.*: box 1, 1, 1, 6 .* has no area"),
    "negative height": (first("bbox", [1, 9, 5, -3]), "annotation 100.*: .* has no area"),
    "box outside": (first("bbox", [1, 1, 40, 5]), "annotation 100.*: .* exceeds the image of 32×20 pixels"),
    "box beside": (first("bbox", [-1, 1, 1, 5]), "annotation 100.*: .* is outside the image"),
    "NaN": (first("bbox", [1, 1, float("nan"), 5]), "NaN is no number of JSON"),
    "infinity": (first("bbox", [1, 1, float("inf"), 5]), "Infinity is no number of JSON"),
    "text": (first("bbox", [1, 1, "3px", 5]), "annotation 100.*: bbox '3px'; accepted: a finite number"),
    "three numbers": (first("bbox", [1, 1, 5]), r"annotation 100.*: bbox \[1, 1, 5\]; accepted: left, top, width"),
    "unknown category": (first("category_id", 8), "annotation 100.*: category_id 8; .*known: 3, 7, 90"),
    "unknown image": (first("image_id", 4711), "annotation 100.*: no image has the id 4711"),
    "annotation id twice": (lambda content: content["annotations"][1].update(id=100), "annotation 100.*: repeated id"),
    "image id twice": (image("id", 12), "image 12: repeated id"),
    "category id twice": (lambda c: c["categories"].append({"id": 3, "name": "x"}), "category 3: repeated id"),
    "category name twice": (
        lambda c: (c["categories"].append({"id": 4, "name": "ant"}), c["annotations"][1].update(category_id=4)),
        "categories 3 and 4 are both 'ant'",
    ),
    "category without a name": (lambda content: content["categories"][0].update(name=" "), "name ' '; accepted"),
    "no images": (lambda content: content.update(images=[], annotations=[]), "images is empty"),
    "no annotations": (lambda content: content.pop("annotations"), "annotations is missing"),
    "annotations of text": (lambda content: content.update(annotations="x"), "annotations is no list"),
    "missing image": (image("file_name", "x.jpg"), "x.jpg: no such file, referenced in .*val2017.json: image 13"),
    "path that leaves": (image("file_name", "../000.jpg"), "000.jpg: no such file, referenced in .*: image 13"),
    "absolute path": (image("file_name", "/etc/passwd"), "passwd: no such file"),
    "long path": (image("file_name", "x" * 5000), "xxx: no such file"),
    "NUL": (image("file_name", "a\0b"), r"'a\\x00b' names no file"),
    "other size of image": (lambda c: c["images"][2].update(width=25), "014.jpg: has 24×24 pixels, but .* has 25×24"),
    "negative size of image": (image("width", -1), r"images\[1\]: size -1×32; accepted: numbers from 1"),
    "id of a list": (image("id", [13]), r"images\[1\]: id \[13\]; accepted: a whole number or a text"),
    "odd polygon": (first("segmentation", [[1, 1, 5, 1, 5]]), "annotation 100.*: a polygon of 5 numbers"),
    "polygon of two corners": (first("segmentation", [[1, 1, 5, 5]]), "annotation 100.*: a polygon of 4 numbers"),
    "polygon outside": (first("segmentation", [[1, 1, 1e9, 1, 5, 5]]), "annotation 100.*: a polygon exceeds"),
    "polygon of text": (first("segmentation", [["a", 1, 5, 1, 5, 5]]), "100: segmentation 'a'; accepted: a finite"),
    "no segmentation": (lambda c: c["annotations"][0].pop("segmentation"), "100 of 012.jpg: has no segmentation"),
    "mask of another size": (first("segmentation", {**SMALL, "size": [20, 31]}), r"mask of size \[20, 31\]"),
    "huge mask": (first("segmentation", {"size": [2**31, 2**31], "counts": [2**62]}), "annotation 100.*: mask of size"),
    "too few runs": (first("segmentation", {**SMALL, "counts": [639]}), "annotation 100.*: .* with the sum 640"),
    "negative run": (first("segmentation", {**SMALL, "counts": [700, -60]}), "annotation 100.*run lengths do not"),
    "negative packed run": (first("segmentation", {**SMALL, "counts": "T`NS`1"}), "annotation 100.*: .*run lengths"),
    "packed run cut short": (first("segmentation", {**SMALL, "counts": "P"}), "annotation 100.*: truncated counts"),
    "packed of other letters": (first("segmentation", {**SMALL, "counts": "ü"}), "annotation 100.*: 'ü' in counts"),
    "endless packed number": (first("segmentation", {**SMALL, "counts": "P" * 50}), "truncated counts"),
    "runs without size": (first("segmentation", {"counts": [640]}), "accepted: run lengths, with size"),
    "crowd of two": (first("iscrowd", 2), "annotation 100.*: iscrowd 2; accepted: 0 or 1"),
    "list": (lambda content: content["annotations"].insert(0, [1, 2]), r"annotations\[0\]: \[1, 2\] is no object"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken(kind, root):
    change, expected = BROKEN[kind]
    line = refusal("coco", altered(root, change), wanted=("mask",))
    assert re.search(expected, line) and str(root) in line, line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no JSON: line 1: expecting an object"),
        (b'{"images": [\n{"id": 1,}', "no JSON: line 2: expecting"),
        (b"[" * 100_000, "no JSON: line 1: expecting an object"),
        (b'{"images": ' * 50_000, "no JSON: line 1: expecting|recursion"),
        (b"\xff\xfe", "can't decode byte"),
        (b"[]", "expecting an object"),
    ],
)
def test_broken_json(content, expected, root):
    (root / TEST).write_bytes(content)
    line = refusal("coco", root)
    assert re.search(expected, line) and str(root / TEST) in line, line


def test_broken_photo_and_settings(root):
    (root / "val2017" / "012.jpg").write_bytes(b"no image")
    assert "012.jpg: cannot be read" in refusal("coco", root)
    assert "for data.test=none" in refusal("coco", root, test="none")
    assert "'../x/_annotations.coco.json' is no name" in refusal("coco", root, test="../x")
    assert "data.val_fraction=0.001: splits 12 images into 12 and 0" in refusal("coco", root, val_fraction=0.001)


def test_damaged_files(root):
    """Altered anywhere, the file is read or refused: any other exception than `InputError` would fail this."""
    random = np.random.default_rng(0)

    def alter(content, offset):
        return content[:offset] + bytes([random.choice(list(b"0123456789-,.Px"))]) + content[offset + 1 :]

    whole = 0
    for _ in overwrite(root / TEST, alter, map(int, random.integers(0, (root / TEST).stat().st_size, 300))):
        with contextlib.suppress(InputError):
            build("coco", root)
            whole += 1
    assert 10 < whole < 290

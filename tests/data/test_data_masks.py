"""Folders of photos and masks, and the pets: what the files say, and a line for each way in which they can be wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from cifar.interfaces import VOID
from cifar.runtime.errors import InputError
from helpers.annotated_files import (
    SIZES,
    build,
    indexed,
    photo,
    refusal,
    voc_xml,
    whole,
    whole_box,
    write_masks,
    write_pets,
)

# Folders


@pytest.fixture
def root(tmp_path):
    return write_masks(tmp_path)


def all_masks(dataset):
    splits = (dataset.train, dataset.val, dataset.test)
    return sorted(mask.tobytes() for split in splits for mask in split.targets["mask"])


def test_masks_are_those_of_the_files(root):
    dataset = build("masks", root)
    assert dataset.class_names == ("object",) and set(dataset.train.targets) == {"mask"}
    sizes = [len(split) for split in (dataset.train, dataset.val, dataset.test)]
    assert sizes == [10, 3, 3]  # a fifth of 16, then a quarter of 13
    files = [np.asarray(Image.open(file)) for file in sorted((root / "masks").iterdir())]
    expected = [whole(mask, 16, Image.Resampling.NEAREST, VOID) for mask in files]
    assert all_masks(dataset) == sorted(mask.tobytes() for mask in expected)


def test_image_and_mask_belong_together(tmp_path):
    for number in range(16):
        pixels = np.full((10, 14), number, np.uint8)
        indexed(tmp_path / "masks" / f"{number}.png", pixels)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels * 10).save(tmp_path / "images" / f"{number}.{('png', 'JPG')[number % 2]}", "PNG")
    dataset = build("masks", tmp_path, classes=[f"class {k}" for k in range(15)])
    for split in (dataset.train, dataset.val, dataset.test):
        assert np.array_equal(split.images[:, 8, 8, 0], 10 * split.targets["mask"][:, 8, 8])


def test_colors(root):
    expected = build("masks", root)
    for file in (root / "masks").iterdir():
        values = np.asarray(Image.open(file))
        colors = np.zeros((*values.shape, 3), np.uint8)
        colors[values == 1] = (255, 128, 0)
        colors[values == VOID] = (224, 224, 192)
        Image.fromarray(colors).save(file)
    classes = {"object": "#FF8000", "void": "#e0e0c0"}
    assert build("masks", root, classes=classes).fingerprint == expected.fingerprint
    line = refusal("masks", root, classes={"object": "#ff8000"})
    assert re.search(r"masks/\d\d.png: color #e0e0c0 at x=0, y=0; accepted: #000000, #ff8000", line)
    swapped = build("masks", root, classes={"background": "#ff8000", "object": "#000000", "void": "#e0e0c0"})
    assert np.array_equal(swapped.test.targets["mask"] == 1, expected.test.targets["mask"] == 0)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ({"a": "red"}, "should be colors such as '#ff0000'; that of a is 'red'"),
        ({"a": "#ff0000", "b": "#FF0000"}, "should be unique colors"),
        ({"a": "#000000"}, "should be unique colors, different from the background.s, #000000"),
        ({"void": "#ffffff"}, "data.classes: 0 classes"),
        ([], "data.classes: 0 classes"),
        (["a", "a"], "class 'a' is empty or repeated"),
        ([str(k) for k in range(255)], "255 classes; accepted: 1 to 254"),
    ],
)
def test_mistakes_in_classes(classes, expected, root):
    with pytest.raises(InputError, match=expected):
        build("masks", root, classes=classes)


def test_folders_of_splits(root):
    whole_one = build("masks", root)
    for part, numbers in (("train", range(10)), ("test", range(10, 16))):
        for kind, suffix in (("images", "jpg"), ("masks", "png")):
            (root / part / kind).mkdir(parents=True)
            for number in numbers:
                (root / kind / f"{number:02}.{suffix}").rename(root / part / kind / f"{number:02}.{suffix}")
    dataset = build("masks", root)
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [7, 3, 6]
    assert all_masks(dataset) == all_masks(whole_one)


def break_masks(kind, root):
    values = np.zeros((20, 32), np.uint8)
    if kind == "no mask":
        (root / "masks" / "03.png").unlink()
    elif kind == "no photo":
        (root / "images" / "03.jpg").unlink()
    elif kind == "no folder":
        (root / "masks").rename(root / "mask")
    elif kind == "two photos":
        photo(root / "images" / "03.png", 3)
    elif kind == "other size":
        indexed(root / "masks" / "04.png", values.T)
    elif kind == "unknown index":
        indexed(root / "masks" / "04.png", values + 2)
    else:
        (root / "images" / "04.jpg").write_bytes(b"no photo")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("no mask", "images/03.jpg: has no mask of the same name"),
        ("no photo", "masks/03.png: has no photo of the same name"),
        ("no folder", "masks: cannot be read .*No such file"),
        ("two photos", "images/03.png: same name as 03.jpg"),
        ("other size", "images/04.jpg: has 32×20 pixels, but .*masks/04.png has 20×32"),
        ("unknown index", "masks/04.png: value 2 at x=0, y=0; accepted: 0, 1, 255"),
        ("no image", "images/04.jpg: cannot be read"),
    ],
)
def test_broken_folder(kind, expected, root):
    break_masks(kind, root)
    assert re.search(expected, refusal("masks", root))


# Pets


@pytest.fixture
def pets(tmp_path):
    return write_pets(tmp_path)


def test_bodies_of_the_published_splits(pets):
    dataset = build("pets", pets)
    assert dataset.class_names == ("cat", "dog") and len(dataset.train) + len(dataset.val) == 12
    targets = dataset.test.targets
    assert targets["classes"][:, 0].tolist() == [0, 1] * 4 and targets["boxes"].shape == (8, 1, 4)
    for row, number in enumerate(range(12, 20)):
        height, width = SIZES[number % 4]
        expected = whole_box((4, 3, width - 3, height - 2), (height, width), 16)
        assert np.abs(targets["boxes"][row, 0] - expected).max() < 0.5
        trimap = np.zeros((height, width), np.uint8)
        trimap[2 : height - 1, 3 : width - 2] = VOID
        trimap[3 : height - 2, 4 : width - 3] = 1 + number % 2
        assert np.array_equal(targets["mask"][row], whole(trimap, 16, Image.Resampling.NEAREST, VOID))


def test_breeds(pets):
    dataset = build("pets", pets, classes="breed")
    assert dataset.class_names == ("Birman", "beagle", "Bombay", "pug")
    assert dataset.test.targets["classes"][:, 0].tolist() == [0, 1, 2, 3] * 2


def test_heads(pets):
    dataset = build("pets", pets, boxes="head", test_fraction=0.4)
    splits = (dataset.train, dataset.val, dataset.test)
    assert sum(map(len, splits)) == 11 and len(dataset.test) == 4  # two of six cats, two of five dogs
    assert dataset.test_fingerprint == build("pets", pets, boxes="head", test_fraction=0.4, seed=1).test_fingerprint
    shapes = {tuple(whole_box((4, 3, 9, 8), shape, 16).round(3)) for shape in SIZES}
    for box in np.concatenate([split.targets["boxes"][:, 0] for split in splits]):
        assert min(np.abs(box - shape).max() for shape in shapes) < 0.5


def break_pets(kind, root):
    lists, name = root / "annotations" / "test.txt", "Birman_12"
    trimap = root / "annotations" / "trimaps" / f"{name}.png"
    lines = {
        "short line": "Birman_12 1 1", "species of three": "Birman_99 1 3 1", "no number": "Birman 1 1 1",
        "breed of zero": "Birman_99 0 1 1", "path that leaves": "../x_1 1 1 1", "missing photo": "Birman_99 1 1 1",
        "twice": "Birman_12 1 1 1", "other breed": "Ragdoll_99 1 1 1", "other species": "Birman_99 1 2 1",
        "gap": "Ragdoll_99 7 1 1",
    }  # fmt: skip
    if kind in lines:
        lists.write_text((lists.read_text() if kind != "short line" else "") + lines[kind])
    elif kind == "no list":
        lists.unlink()
    elif kind == "no trimap":
        trimap.unlink()
    elif kind == "no pet":
        Image.fromarray(np.full((20, 32), 2, np.uint8)).save(trimap)
    elif kind == "unknown value":
        Image.fromarray(np.zeros((20, 32), np.uint8)).save(trimap)
    elif kind == "other size":
        Image.fromarray(np.ones((20, 31), np.uint8)).save(trimap)
    else:
        xml = root / "annotations" / "xmls" / "Birman_0.xml"
        xml.write_text(voc_xml((20, 32), []) if kind == "no head" else voc_xml((20, 31), [("cat", (1, 1, 5, 5), 0)]))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("short line", "test.txt: line 1: Birman_12 1 1; accepted: name"),
        ("species of three", "test.txt: line 9: Birman_99 1 3 1; accepted"),
        ("no number", "test.txt: line 9: Birman 1 1 1; accepted"),
        ("breed of zero", "test.txt: line 9: Birman_99 0 1 1; accepted"),
        ("path that leaves", "'images/../x_1.jpg' is no name|has breed 1"),
        ("missing photo", "Birman_99.jpg: no such file, referenced in .*test.txt: line 9"),
        ("twice", "test.txt: line 9: Birman_12 is repeated"),
        ("other breed", "line 9: Ragdoll_99 has breed 1 and species 1, and Birman_0 1 and 1"),
        ("other species", "line 9: Birman_99 has breed 1 and species 2, and Birman_0 1 and 1"),
        ("gap", "Ragdoll_99.jpg: no such file, referenced in .*test.txt: line 9"),
        ("no list", "test.txt: cannot be read"),
        ("no trimap", "Birman_12.png: no such file"),
        ("no pet", "Birman_12.png: no pixel of the pet"),
        ("unknown value", "Birman_12.png: value 0 at x=0, y=0; accepted: 1, 2, 3"),
        ("other size", "Birman_12.jpg: has 32×20 pixels, but .*Birman_12.png has 31×20"),
        ("no head", "Birman_0.xml: no object"),
        ("other size of head", "Birman_0.jpg: has 32×20 pixels, but .*Birman_0.xml has 31×20"),
    ],
)
def test_broken_pets(kind, expected, pets):
    break_pets(kind, pets)
    assert re.search(expected, refusal("pets", pets, boxes="head" if "head" in kind else "body", test_fraction=0.4))

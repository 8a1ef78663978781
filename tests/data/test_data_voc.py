"""PASCAL VOC: boxes and masks as its files have them, and a line for each way in which they can be wrong."""

from __future__ import annotations

import contextlib
import re
import zlib

import numpy as np
import pytest
from PIL import Image

from cifar.data.annotated.voc import CLASSES
from cifar.files import safe_io
from cifar.interfaces import VOID
from cifar.runtime.errors import InputError
from helpers.annotated_files import SIZES, build, indexed, overwrite, refusal, voc_xml, whole, whole_box, write_voc

FIRST = "2026_000012"
"""The first test photo; its objects are a person and nothing else, its size is 20×32 (height, width)."""


@pytest.fixture
def root(tmp_path):
    return write_voc(tmp_path)


@pytest.mark.parametrize("image_set", ["Main", "Segmentation"])
def test_boxes_and_masks(root, image_set):
    dataset = build("voc", root, image_set=image_set)
    assert dataset.class_names == CLASSES and len(CLASSES) == 20
    targets = dataset.test.targets
    assert ("mask" in targets) == (image_set == "Segmentation")
    for row, number in enumerate(range(12, 16)):
        height, width = SIZES[number % 4]
        expected = [whole_box((1, 2, width - 1, height), (height, width), 16)]
        if number % 2:
            expected.append(whole_box((0, 0, 5.5, 6), (height, width), 16))
        assert np.abs(targets["boxes"][row, : len(expected)] - expected).max() < 0.5
        assert targets["classes"][row].tolist() == [(14, 7, 17)[number % 3], 11 if number % 2 else -1]
        assert targets["crowd"][row].tolist() == [False, bool(number % 2)]
        if image_set == "Segmentation":
            mask = np.asarray(Image.open(root / "SegmentationClass" / f"2026_{number:06}.png"))
            assert np.array_equal(targets["mask"][row], whole(mask, 16, Image.Resampling.NEAREST, VOID))


def test_lists(root):
    lists = root / "ImageSets" / "Main"
    expected = build("voc", root)
    (lists / "val.txt").write_text("\n# of the test\n" + "".join(f"2026_{k:06} -1\n\n" for k in range(12, 16)))
    assert build("voc", root).test_fingerprint == expected.test_fingerprint
    (lists / "last.txt").write_text("2026_000011\n")
    (lists / "train.txt").write_text("".join(f"2026_{k:06}\n" for k in range(11)))
    given = build("voc", root, val="last")
    assert given.val.ids.tolist() == ["JPEGImages/2026_000011.jpg"] and len(given.train) == 11
    assert "4 images are in both data.val and data.test" in refusal("voc", root, val="val", test="val")


def test_classes_of_ones_own(root):
    names = ["sofa", "dog", "cat", "person"]
    dataset = build("voc", root, classes=names)
    assert dataset.class_names == tuple(names)
    assert set(np.unique(dataset.test.targets["classes"])) == {-1, 0, 1, 2, 3}
    assert "class 'person'" in refusal("voc", root, classes=names[:3])
    assert "class 'dog' is empty or repeated" in refusal("voc", root, classes=["dog", "dog"])


def objects(*found):
    return voc_xml((20, 32), list(found))


XMLS = {
    "empty": ("", "cannot be read .*no element found"),
    "text": ("no XML", "cannot be read .*line 1"),
    "not closed": ("<annotation>\n<object>", "cannot be read .*line 2"),
    "not UTF-8": (b"<annotation>\xff</annotation>", "cannot be read .*not well-formed"),
    "entity bomb": (
        "<!DOCTYPE a [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;'>]>\n<annotation>&b;</annotation>",
        "cannot be read .*line 1: an entity is declared, which is forbidden",
    ),
    "external entity": (
        "<!DOCTYPE a [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><annotation>&a;</annotation>",
        "an entity is declared",
    ),
    "entity": ("<annotation>&a;</annotation>", "cannot be read .*undefined entity"),
    "deep": ("<a>" * 100_001, "more than 100000 elements"),
    "size of text": (objects().replace("<width>32", "<width>wide"), "line 2: size/width is 'wide'"),
    "size with a fraction": (objects().replace("<width>32", "<width>32.5"), "size 32.5×20"),
    "endless size": (objects().replace("<width>32", "<width>inf"), "line 2: size/width is 'inf'"),
    "other size": (objects().replace("<width>32", "<width>31"), ".jpg: has 32×20 pixels, but .*12.xml has 31×20"),
    "unknown class": (objects(("parson", (1, 1, 5, 5), 0)), "line 3: class 'parson'; did you mean 'person'"),
    "no class": (objects(("", (1, 1, 5, 5), 0)), "line 3: class ''"),
    "box of text": (objects(("dog", (1, "x", 5, 5), 0)), "line 6: bndbox/ymin is 'x'; accepted: a number"),
    "NaN": (objects(("dog", (1, "nan", 5, 5), 0)), "line 6: bndbox/ymin is 'nan'"),
    "infinity": (objects(("dog", (1, 1, "1e999", 5), 0)), "line 6: bndbox/xmax is '1e999'"),
    "zero width": (objects(("dog", (5, 1, 4, 5), 0)), "line 3: box 4, 0, 4, 5 .* has no area"),
    "inside out": (objects(("dog", (9, 1, 4, 5), 0)), "line 3: .* has no area"),
    "box outside": (objects(("dog", (9, 1, 34, 5), 0)), "line 3: .* exceeds the image of 32×20 pixels"),
    "box above": (objects(("dog", (9, -1, 14, 5), 0)), "line 3: .* exceeds"),
    "no box": (objects().replace("</annotation>", "\n<object><name>dog</name></object></annotation>"),
               "line 4: object has no bndbox/xmin"),
    "difficulty of text": (objects(("dog", (1, 1, 5, 5), "very")), "line 5: difficult is 'very'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", XMLS)
def test_broken_xml(kind, root):
    content, expected = XMLS[kind]
    file = root / "Annotations" / f"{FIRST}.xml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refusal("voc", root)
    assert re.search(expected, line) and str(file) in line, line


def test_a_pixel_over_the_edge_is_clipped(root):
    (root / "Annotations" / f"{FIRST}.xml").write_text(objects(("dog", (0, 1, 33, 5), 0)))
    assert build("voc", root).test.targets["boxes"][0, 0].tolist() == [0, 3, 16, 5.5]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2026_999999", "2026_999999.jpg: no such file, referenced in .*val.txt: line 5"),
        ("../../etc/passwd", "'Annotations/../../etc/passwd.xml' is no name of a file in it"),
        ("2026_000013", "val.txt: line 5: 2026_000013 is repeated"),
        ("x" * 5000, "is no name of a file in it.*at most 255 bytes"),
    ],
)
def test_broken_list(line, expected, root):
    with (root / "ImageSets" / "Main" / "val.txt").open("a") as file:
        file.write(line + "\n")
    assert re.search(expected, refusal("voc", root))


@pytest.mark.parametrize(("content", "expected"), [(b"\xff\xfe", "cannot be read"), (b"", "no test images")])
def test_useless_list(content, expected, root):
    (root / "ImageSets" / "Main" / "val.txt").write_bytes(content)
    assert expected in refusal("voc", root)


def huge(content):
    """A PNG file that declares 100,000 pixels to a side."""
    header = content[12:16] + 2 * (100_000).to_bytes(4, "big") + content[24:29]
    return content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]


def broken_mask(kind, path):
    values = np.zeros((20, 32), np.uint8)
    if kind == "other size":
        indexed(path, values.T)
    elif kind == "unknown index":
        values[3, 7] = 21
        indexed(path, values)
    elif kind == "colors":
        Image.new("RGB", (32, 20), (1, 2, 3)).save(path)
    elif kind == "sixteen bits":
        Image.fromarray(values.astype(np.uint16)).save(path)
    elif kind == "JPEG":
        Image.fromarray(values).save(path, "JPEG")
    elif kind == "huge header":
        path.write_bytes(huge(path.read_bytes()))
    elif kind == "cut short":
        path.write_bytes(path.read_bytes()[:80])
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("other size", "12.jpg: has 32×20 pixels, but .*12.png has 20×32"),
        ("unknown index", "value 21 at x=7, y=3; accepted: 0, 1,"),
        ("colors", "color #010203 at x=0, y=0; accepted: #000000, #800000"),
        ("sixteen bits", "its mode is I;16"),
        ("JPEG", "cannot be read"),
        ("huge header", "cannot be read .*decompression.*"),
        ("cut short", "cannot be read"),
        ("missing", "no such file, referenced in .*Segmentation/val.txt: line 1"),
    ],
)
def test_broken_mask(kind, expected, root):
    path = root / "SegmentationClass" / f"{FIRST}.png"
    broken_mask(kind, path)
    line = refusal("voc", root, image_set="Segmentation")
    assert re.search(expected, line) and str(path) in line, line


def test_large_xml(root, monkeypatch):
    monkeypatch.setattr("cifar.data.annotated.voc_file.SMALL", 100)
    assert "more than 100 bytes" in refusal("voc", root)


def test_damaged_files(root):
    """Altered anywhere, an XML file is read or refused: any other exception than `InputError` would fail this."""
    random = np.random.default_rng(0)
    file = root / "Annotations" / f"{FIRST}.xml"

    def alter(content, offset):
        inserted = [] if offset % 5 == 0 else [random.choice(list(b"0123456789<>&ax\xff"))]
        return content[:offset] + bytes(inserted) + content[offset + 1 :]

    whole_ones = 0
    for _ in overwrite(file, alter, range(len(file.read_bytes()))):
        with contextlib.suppress(InputError):
            build("voc", root)
            whole_ones += 1
    assert 10 < whole_ones < len(file.read_bytes()) - 100


def test_lines_of_elements():
    root = safe_io.xml_tree(b"<a>\n<b/>\n\n<c>\n</c></a>")
    assert [node.line for node in root.iter()] == [1, 2, 4]

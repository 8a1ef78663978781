"""PASCAL VOC's files as different programs write them, and masks of 0 and 255."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cifar.data.annotated.mask_files import voc_colors
from helpers.annotated_files import (
    SIZES,
    build,
    indexed,
    photo,
    refusal,
    voc_xml,
    whole_box,
    write_masks,
    write_pets,
    write_voc,
)

FIRST = "2026_000012"
"""The first test photo: one person, 20×32 pixels (height, width)."""


@pytest.fixture
def root(tmp_path):
    return write_voc(tmp_path)


def write_pairs(folder, numbers, name="helmet"):
    """Photos with an XML file beside each."""
    for number in numbers:
        height, width = photo(folder / f"{number:02}.jpg", number)
        (folder / f"{number:02}.xml").write_text(voc_xml((height, width), [(name, (2, 3, width - 1, height), 0)]))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<difficult>0</difficult>", "<difficult/>"),
        ("<difficult>0</difficult>", "<difficult>Unspecified</difficult>"),
        ("<width>32</width>", "<width>0</width>"),
        ("<size><width>32</width><height>20</height><depth>3</depth></size>", ""),
        ("<annotation>", '<?xml version="1.0"?><!DOCTYPE annotation SYSTEM "x.dtd"><annotation>'),
    ],
)
def test_forms_of_xml_that_mean_the_same(root, before, after):
    expected = build("voc", root).fingerprint
    file = root / "Annotations" / f"{FIRST}.xml"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    assert build("voc", root).fingerprint == expected


def test_lists_with_suffixes_and_other_formats_of_photos(root):
    expected = [*build("voc", root).test.targets["boxes"].ravel()]
    lists = root / "ImageSets" / "Main" / "val.txt"
    lists.write_text("\ufeff2026_000012.jpg\nmy photo 13\n2026_000014 1\n2026_000015\n")
    for folder, suffix in (("Annotations", "xml"), ("JPEGImages", "jpg")):
        (root / folder / f"2026_000013.{suffix}").rename(root / folder / f"my photo 13.{suffix}")
    for name, suffix in (("2026_000014", "png"), ("2026_000015", "JPEG")):
        with Image.open(root / "JPEGImages" / f"{name}.jpg") as image:
            image.save(root / "JPEGImages" / f"{name}.{suffix}")
        (root / "JPEGImages" / f"{name}.jpg").unlink()
    dataset = build("voc", root)
    assert [*dataset.test.targets["boxes"].ravel()] == expected
    assert dataset.test.ids[1] == "JPEGImages/my photo 13.jpg"


def test_folders_of_roboflow_and_boxes_from_zero(tmp_path):
    for split, numbers in (("train", range(8)), ("valid", range(8, 11)), ("test", range(11, 14))):
        write_pairs(tmp_path / split, numbers)
    dataset = build("voc", tmp_path, first_pixel=0)
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [8, 3, 3]
    height, width = SIZES[11 % 4]
    box = whole_box((2, 3, width - 1, height), (height, width), 16)
    assert np.abs(dataset.test.targets["boxes"][0, 0] - box).max() < 0.5 and dataset.class_names == ("helmet",)


def test_a_folder_without_lists(tmp_path):
    write_pairs(tmp_path, range(16))
    dataset = build("voc", tmp_path)
    assert len(dataset.test) == 3 and sum(map(len, (dataset.train, dataset.val, dataset.test))) == 16
    (tmp_path / "03.xml").unlink()
    assert "03.jpg: has no XML file of the same name" in refusal("voc", tmp_path)
    assert build("voc", tmp_path, on_invalid="skip").invalid == {"skipped photos": 1}


def test_colored_masks(root):
    expected = build("voc", root, image_set="Segmentation").fingerprint
    colors = {value: color for color, value in voc_colors(20).items()}
    for file in (root / "SegmentationClass").iterdir():
        packed = np.vectorize(colors.get)(np.asarray(Image.open(file)))
        Image.fromarray(np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1).astype(np.uint8)).save(file)
    assert build("voc", root, image_set="Segmentation").fingerprint == expected


def test_labelmap_of_cvat(root):
    names = {"background": "0,0,0", "sofa": "1,2,3", "dog": "4,5,6", "cat": "7,8,9", "person": "10,11,12"}
    lines = [f"{name}:{color}::" for name, color in names.items()]
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\nvoid:255,255,255::\n"
    )
    assert build("voc", root).class_names == ("sofa", "dog", "cat", "person")
    colors = {0: (0, 0, 0), 15: (10, 11, 12), 8: (7, 8, 9), 18: (1, 2, 3), 255: (255, 255, 255)}
    for file in (root / "SegmentationClass").iterdir():
        values = np.asarray(Image.open(file))
        Image.fromarray(np.array([colors.get(value, (0, 0, 0)) for value in range(256)], np.uint8)[values]).save(file)
    mask = build("voc", root, image_set="Segmentation").test.targets["mask"]
    assert set(np.unique(mask)) == {0, 4, 3, 1, 255}  # photos 12 to 15: person, cat, sofa, person


def test_masks_of_0_and_255(tmp_path):
    root = write_masks(tmp_path)
    for file in (root / "masks").iterdir():
        values = np.asarray(Image.open(file))
        indexed(file, np.where(values == 255, 0, values))
    expected = build("masks", root).fingerprint
    for file in (root / "masks").iterdir():
        Image.fromarray(np.where(np.asarray(Image.open(file)) == 1, 255, 0).astype(np.uint8)).save(file)
    assert "data.classes={object: '#ffffff'} reads masks of 0 and 255" in refusal("masks", root)
    assert build("masks", root, classes={"object": "#ffffff"}).fingerprint == expected


def test_pets_without_some_breeds(tmp_path):
    root = write_pets(tmp_path)
    for part in ("trainval", "test"):
        file = root / "annotations" / f"{part}.txt"
        file.write_text("".join(line for line in file.read_text().splitlines(True) if "beagle" not in line))
    assert build("pets", root, classes="breed").class_names == ("Birman", "Bombay", "pug")
    assert build("pets", root).class_names == ("cat", "dog")

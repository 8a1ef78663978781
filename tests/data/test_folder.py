"""Images in folders named for their classes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cifar.runtime.errors import InputError
from helpers.data_files import build, refused, write_folder


def folder_of(path, **settings):
    return build("folder", path, size=16, **settings)


def test_folder_reads_classes_in_order(tmp_path):
    root = write_folder(tmp_path)
    (root / "train" / "ant" / "notes.txt").write_text("no image")
    dataset = folder_of(root)
    assert dataset.name == "insects" and dataset.class_names == ("ant", "bee", "cow")
    assert dataset.image_shape == (16, 16, 3)
    # Class `label` is filled with 80 * label to 80 * label + 79.
    assert (dataset.test.images.mean(axis=(1, 2, 3)) // 80).tolist() == dataset.test.targets["label"].tolist()


def test_folder_cuts_the_center(tmp_path):
    root = write_folder(tmp_path)
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = 255
    for mode in ("RGB", "L", "P", "RGBA"):
        Image.fromarray(pixels).convert(mode).save(root / "test" / "ant" / "0.png")
        assert folder_of(root).test.images[0, :, 1:-1].min() >= 250


def test_folder_errors(tmp_path):
    assert "nowhere/train" in refused("folder", tmp_path / "nowhere", size=8)
    (tmp_path / "train").mkdir()
    assert "contains no class folders" in refused("folder", tmp_path, size=8)
    root = write_folder(tmp_path)
    (root / "test" / "bees").mkdir()
    with pytest.raises(InputError, match="test/bees: class missing in train; did you mean 'bee'"):
        folder_of(root)
    (root / "test" / "bees").rmdir()
    (root / "train" / "dog").mkdir()
    assert "no training image of 'dog'" in refused("folder", root, size=8)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "bomb", "sixteen bits", "postscript"])
def test_folder_names_the_unreadable_image(damage, tmp_path, monkeypatch):
    root = write_folder(tmp_path)
    file = root / "train" / "bee" / "0.png"
    if damage == "bomb":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30 * 22)
        Image.new("RGB", (30, 23)).save(file)
    elif damage == "sixteen bits":
        Image.fromarray(np.zeros((20, 20), np.uint16)).save(file)
    else:
        content = {"truncated": file.read_bytes()[:500], "empty": b"", "text": b"no image",
                   "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"}  # fmt: skip
        file.write_bytes(content[damage])
    assert str(file) in refused("folder", root, size=8)

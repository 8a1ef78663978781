"""Images in folders named for their classes."""

from __future__ import annotations

import shutil
import struct
import zlib

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
    assert (dataset.test.images[:].mean(axis=(1, 2, 3)) // 80).tolist() == dataset.test.targets["label"].tolist()


def test_folder_cuts_the_center(tmp_path):
    root = write_folder(tmp_path)
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = 255
    for mode in ("RGB", "L", "P", "RGBA"):
        Image.fromarray(pixels).convert(mode).save(root / "test" / "ant" / "0.png")
        assert folder_of(root).test.images[0, :, 1:-1].min() >= 250


def test_folder_errors(tmp_path):
    assert "nowhere: cannot be read" in refused("folder", tmp_path / "nowhere", size=8)
    (tmp_path / "train").mkdir()
    assert "train: contains no class folders" in refused("folder", tmp_path, size=8)
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


def test_forms_of_folders(tmp_path, capsys):
    root = write_folder(tmp_path)
    cut = folder_of(root)
    (root / "valid").mkdir()
    for name in ("ant", "bee", "cow"):
        (root / "valid" / name / "more").mkdir(parents=True)
        (root / "train" / name / "3.png").rename(root / "valid" / name / "more" / "3.png")
    (root / "train" / ".ipynb_checkpoints").mkdir()
    (root / "__MACOSX").mkdir()
    (root / "train" / "ant" / "._0.png").write_bytes(b"")
    given = folder_of(root)
    assert given.class_names == ("ant", "bee", "cow") and capsys.readouterr().err == ""
    assert given.val.ids.tolist() == [f"valid/{name}/more/3.png" for name in given.class_names]
    assert len(given.train) == 9 and given.test_fingerprint == cut.test_fingerprint
    (root / "test").rename(root / ".test")
    without_test = folder_of(root, test_fraction=0.3)
    assert [len(part) for part in (without_test.train, without_test.val, without_test.test)] == [6, 3, 3]
    (root / "valid").rename(root / "other")
    (root / "notes.txt").write_text("")
    again = folder_of(root, test_fraction=0.3)
    assert [len(part) for part in (again.train, again.val, again.test)] == [4, 2, 3]
    assert again.test.ids.tolist() == without_test.test.ids.tolist()
    assert "ignored 2 files or folders that are no images of a class: notes.txt, other" in capsys.readouterr().err
    flat = folder_of(root / "train", test_fraction=0.3)
    assert [f"train/{name}" for name in flat.test.ids] == again.test.ids.tolist()
    (root / "val").mkdir()
    (root / "valid").mkdir()
    assert "contains val and valid; accepted: one of them" in refused("folder", root, size=8)


@pytest.mark.parametrize("suffix", ["png", "jpg", "jfif", "webp", "bmp", "tif", "gif"])
def test_formats(suffix, tmp_path):
    root = write_folder(tmp_path)
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :8] = 250
    first, second = Image.fromarray(pixels), Image.fromarray(255 - pixels)
    animation = {"save_all": True, "append_images": [second]} if suffix == "gif" else {}
    first.save(root / "test" / "ant" / f"-.{suffix}", **animation)
    found = folder_of(root).test
    assert found.ids[0] == f"test/ant/-.{suffix}" and np.abs(found.images[0].astype(int) - pixels).mean() < 6


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_photos_are_on_white(mode, tmp_path):
    root = write_folder(tmp_path)
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    image.paste((90, 90, 90, 255), (0, 0, 8, 16))
    image.quantize(4).save(root / "test" / "ant" / "-.png")
    if mode != "P":
        image.convert(mode).save(root / "test" / "ant" / "-.png")
    assert folder_of(root).test.images[0, 8, [3, 12], 0].tolist() == [90, 255]


def test_more_than_eight_bits_are_refused(tmp_path):
    root = write_folder(tmp_path)
    # Pillow cannot write PNG files of 16 bits with colors.
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(4 * 25))), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    (root / "test" / "ant" / "0.png").write_bytes(content)
    assert "0.png: cannot be read (ValueError: its mode is RGB, of more than 8 bits" in refused("folder", root, size=8)


def test_all_invalid_files_are_reported_or_skipped(tmp_path, capsys):
    root = write_folder(tmp_path)
    for number in (0, 1, 2):
        (root / "train" / "cow" / f"{number}.{('png', 'jpg', 'JPEG')[number]}").write_bytes(b"no image")
    (root / "test" / "bee" / "0.png").write_bytes(b"")
    message = refused("folder", root, size=8)
    assert all(f"train/cow/{number}" in message for number in (0, 1, 2)) and message.endswith("; and 1 more")
    found = folder_of(root, on_invalid="skip")
    assert len(found.test) == 11 and np.bincount(found.train.targets["label"])[2] == 1
    assert "4 skipped photos" in capsys.readouterr().err


def test_copies_do_not_get_into_several_splits(tmp_path, capsys):
    root = write_folder(tmp_path)
    shutil.copy(root / "test" / "ant" / "0.png", root / "train" / "ant" / "copy.png")
    found = folder_of(root)
    assert "train/ant/copy.png" not in {*found.train.ids, *found.val.ids}
    warning = "data.train: 1 images are left out, as test has copies of them: train/ant/copy.png"
    assert warning in capsys.readouterr().err
    for number in range(4, 12):
        shutil.copy(root / "train" / "ant" / "0.png", root / "train" / "ant" / f"{number}.png")
    found = folder_of(root, val_fraction=0.5)
    content = [{image.tobytes() for image in split.images[:]} for split in (found.train, found.val, found.test)]
    assert not content[0] & content[1] and not content[2] & (content[0] | content[1])

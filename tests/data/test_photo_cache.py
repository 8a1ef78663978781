"""Decoded photos are kept: for later runs, for several processes at once, and for sets larger than memory."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cifar.augmentation import Augmentation
from cifar.config.registry import AUGMENTATIONS
from cifar.data import folds
from cifar.data.photos import cache, decoding
from cifar.images import io
from cifar.interfaces import Dataset, Split
from cifar.runtime.paths import ROOT
from cifar.training import pipeline
from helpers import annotated_files
from helpers.data_files import build, refused, write_folder
from helpers.pictures import read_image
from helpers.processes import run_warm


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_folder(tmp_path)


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the photos that were decoded, in a list that the test may clear."""
    found: list[str] = []
    original = decoding.decoded

    def decode(photo, options):
        found.append(photo.path)
        return original(photo, options)

    monkeypatch.setattr(decoding, "decoded", decode)
    return found


def test_photos_are_decoded_once(root, decoded):
    first = build("folder", root, size=16)
    assert len(decoded) == 24 and not first.train.images.base.flags.owndata
    decoded.clear()
    again = build("folder", root, size=16)
    assert again.fingerprint == first.fingerprint and not decoded
    assert build("folder", root, size=16, val_fraction=0.4, seed=1, limit=9).test_fingerprint and not decoded
    build("folder", root, size=8)
    assert len(decoded) == 24


def test_only_what_has_changed_is_decoded_again(root, decoded):
    build("folder", root, size=16)
    decoded.clear()
    Image.new("RGB", (20, 30), (9, 8, 7)).save(root / "test" / "bee" / "0.png")
    (root / "train" / "cow" / "1.jpg").unlink()
    found = build("folder", root, size=16)
    assert decoded == ["test/bee/0.png"] and found.test.images[4, 0, 0].tolist() == [9, 8, 7]
    with cache.limited_to(0):
        assert build("folder", root, size=16).fingerprint == found.fingerprint


def test_invalid_photos_are_named_again(root, decoded):
    (root / "test" / "bee" / "0.png").write_bytes(b"no image")
    for _ in range(2):
        assert "test/bee/0.png: cannot be read" in refused("folder", root, size=16)
    assert len(decoded) == 25


def test_a_damaged_entry_is_made_again(root):
    first = build("folder", root, size=16)
    for path in (root.parent / "cache").rglob("*.np?"):
        path.write_bytes(path.read_bytes()[:90])
    assert build("folder", root, size=16).fingerprint == first.fingerprint


def test_the_least_recently_used_goes(root, capsys):
    folder = root.parent / "cache" / "cifar" / "photos"
    with cache.limited_to(24 * 16 * 16 * 3 * 2.5 / 1e9):
        for size in (16, 15, 14):
            build("folder", root, size=size)
            for number, entry in enumerate(sorted(folder.glob("*/[!.]*"), key=lambda entry: entry.stat().st_mtime)):
                os.utime(entry, (number, number))
            if size == 15:
                build("folder", root, size=16)
        assert [np.load(path, mmap_mode="r").shape[1] for path in folder.glob("*/*/images.npy")] != [15]
        sizes = {np.load(path, mmap_mode="r").shape[1] for path in folder.glob("*/*/images.npy")}
        assert sizes == {16, 14}
        assert "not kept" not in capsys.readouterr().err
        build("folder", root, size=64)
        assert "decoded photos are not kept: 0.0 GB of decoded photos; data.cache_gb=" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written(root, capsys):
    first = build("folder", root, size=16)
    (root.parent / "cache" / "cifar" / "photos").rename(root.parent / "kept")
    (root.parent / "cache" / "cifar" / "photos").write_bytes(b"a file")
    assert build("folder", root, size=16).fingerprint == first.fingerprint
    assert "decoded photos are not kept" in capsys.readouterr().err


def test_two_that_begin_at_once_decode_once(root, decoded):
    both = [threading.Thread(target=build, args=("folder", root), kwargs={"size": 16}) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(decoded) == 24


def test_the_pipeline_reads_the_mapped_file(root):
    found = build("folder", root, size=16)
    tensor, rows = pipeline._shared(found.train.images)
    with cache.limited_to(0):
        held = build("folder", root, size=16)
    assert np.array_equal(np.asarray(tensor)[rows.numpy()], held.train.images)
    assert np.asarray(tensor).ctypes.data == found.train.images.base.ctypes.data


COPIES = """
import sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import tensorflow as tf
from cifar.augmentation import Augmentation
from cifar.files.rows import ImageRows
from cifar.interfaces import Split
from cifar.training import pipeline

def anonymous_memory():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024

if sys.argv[1] == "True":
    tf.keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
images = np.memmap("images", np.uint8, "r").reshape(-1, 32, 32, 3)
split = Split(ImageRows(images, np.arange(len(images))), {"label": np.zeros(len(images), np.int64)})
task = SimpleNamespace(targets=("label",), encode=lambda targets: targets["label"])
before = None
for batches in (
    pipeline.training_batches(split, task, Augmentation({}, "nearest"), seed=0, batch_size=32, epochs=1),
    pipeline.evaluation_batches(split, task, 32),
):
    before = before or anonymous_memory()
    assert len(list(batches.take(2))) == 2
print(anonymous_memory() - before)
"""


@pytest.mark.parametrize("deterministic", [True, False])
def test_training_and_validation_hold_no_copy_of_a_mapped_file(tmp_path, deterministic):
    """In a process of its own, since determinism cannot be taken back."""
    length = 80_000 * 32 * 32 * 3
    with (tmp_path / "images").open("wb") as file:
        file.truncate(length)
    done = run_warm("-c", COPIES, str(deterministic), cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.code == 0, done.stderr
    assert int(done.stdout.split()[-1]) < length / 2


def test_large_jpegs_are_decoded_at_a_reduced_size(root):
    """The pixels differ from those of the photo that is decoded as a whole by at most 1 of 255 in the mean."""
    random = np.random.default_rng(0)
    low = Image.fromarray(random.integers(0, 256, (30, 40, 3), np.uint8)).resize((1600, 1200), Image.Resampling.BICUBIC)
    noise = random.normal(0, 12, (1200, 1600, 3))
    pixels = (np.asarray(low) + noise).clip(0, 255).astype(np.uint8)
    for number, orientation in enumerate((1, 6)):
        exif = Image.Exif()
        exif[io.ORIENTATION] = orientation
        Image.fromarray(pixels).save(root / "test" / "ant" / f"-{number}.jpg", quality=92, exif=exif)
    for size in (32, 128):
        found = build("folder", root, size=size).test
        for number in range(2):
            assert found.ids[number] == f"test/ant/-{number}.jpg"
            whole = read_image(root / "test" / "ant" / f"-{number}.jpg", (size, size, 3))
            difference = np.abs(found.images[number].astype(int) - whole)
            assert difference.mean() <= 1 and np.percentile(difference, 99) <= 3


def test_batches_are_those_of_a_set_in_memory(root):
    """Whatever the images are read from, order, batches and targets are equal."""
    mapped = build("folder", root, size=16).train
    held = Split(np.asarray(mapped.images), mapped.targets)
    task = SimpleNamespace(targets=("label",), encode=lambda targets: targets["label"])
    epochs = [
        list(pipeline.training_batches(split, task, Augmentation({}, "nearest"), seed=3, batch_size=5, epochs=2))
        for split in (mapped, held)
    ]
    for one, other in zip(*epochs, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def test_the_reader_of_earlier_runs(root):
    """Whole photos are decoded, and the fingerprint is that of the pixels."""
    found = build("folder", root, size=16, reader=1)
    whole = [read_image(root / name, (16, 16, 3)) for name in found.test.ids]
    assert np.array_equal(found.test.images, whole)
    splits = [Split(np.asarray(split.images), split.targets) for split in (found.train, found.val, found.test)]
    assert found.fingerprint == Dataset(found.name, *splits, found.class_names).fingerprint
    assert found.fingerprint != build("folder", root, size=16, reader=2).fingerprint


def test_training_photos_are_kept_with_more_pixels_too(root, decoded):
    """The images of all splits are those without them."""
    plain, large = build("folder", root, size=8), build("folder", root, size=16)
    found = build("folder", root, size=8, cached_size=16)
    assert found.test_fingerprint == plain.test_fingerprint and found.fingerprint != plain.fingerprint
    pixels = {name: image for split in (large.train, large.val)
              for name, image in zip(split.ids, split.images[:], strict=True)}  # fmt: skip
    for split in (found.train, found.val, folds.cut(found, 3, 1, 0).train, found.train.take(np.array([5, 2]))):
        assert np.array_equal(split.larger[:], [pixels[name] for name in split.ids])
    assert np.array_equal(found.train.images, plain.train.images) and found.test.larger is None
    decoded.clear()
    assert build("folder", root, size=8, cached_size=16).fingerprint == found.fingerprint and not decoded


def task_of_labels() -> SimpleNamespace:
    return SimpleNamespace(targets=("label",), encode=lambda targets: targets["label"], is_dense=False)


def test_batches_of_larger_photos_are_a_function_of_seed_epoch_and_step(root):
    split = build("folder", root, size=8, cached_size=20).train
    task = task_of_labels()
    part = AUGMENTATIONS.build({"name": "random_resized_crop", "min_area": 0.1, "max_area": 1, "min_aspect": 0.75})
    common = {"seed": 3, "batch_size": 5, "epochs": 2}
    for transforms in ({"random_resized_crop": part}, {}):
        augmentation = Augmentation(transforms, "nearest")
        whole = list(pipeline.training_batches(split, task, augmentation, **common).as_numpy_iterator())
        again = pipeline.training_batches(split, task, augmentation, first_epoch=1, first_step=2, **common)
        for one, other in zip(whole[len(whole) // 2 + 2 :], again.as_numpy_iterator(), strict=True):
            assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
        assert whole[0][0].shape == (5, 8, 8, 3)
        assert pipeline.preview(split, task, augmentation, seed=0, rows=2, versions=3)[1].shape[:2] == (2, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.size=32", "data.cached_size=24"],
         "data.cached_size=24: should be larger than data.size=32, and of the same shape, such as 64"),
        (["data.size=[24,32]", "data.cached_size=64"],
         "data.cached_size=64: should be larger than data.size=[24,32], and of the same shape, such as [48,64]"),
        (["data.cached_size=64", "augmentation=none"], "data.cached_size: no geometric augmentation resamples"),
        (["data.sampling=balanced", "task.class_weights=balanced"],
         "data.sampling=balanced: task.class_weights=balanced does the same; accepted: one of them"),
        (["data.sampling=even"], "data.sampling=even: should be 'shuffle' or 'balanced'"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings, message, root, mistake):
    assert message in mistake("data=folder", f"data.path={root}", *settings)


def test_a_task_without_one_class_an_image_is_not_balanced(tmp_path, mistake):
    root = annotated_files.write_yolo(tmp_path / "data")
    line = mistake("task=detection", "data=yolo", f"data.path={root}", "data.sampling=balanced")
    assert line == "data.sampling=balanced: with task=detection, an image has no class; accepted: shuffle"

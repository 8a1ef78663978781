"""The command `audit`: what it finds in planted faults, its page, and the list that a training leaves out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifar.audit import duplicates, folds, noise, oddities
from cifar.audit.pool import Pool
from cifar.config.registry import DATASETS
from cifar.files.ownership import MARK
from cifar.interfaces import Dataset, Split
from cifar.training.experiment import load
from helpers.annotated_files import write_coco, write_json, write_masks, write_voc
from helpers.planting import KINDS, near_duplicate, textures, wrong_labels
from helpers.runs import sqlite


def dataset(*parts: np.ndarray, **targets: list[np.ndarray]) -> Dataset:
    """A data set of three splits of images, with targets (or label 0), and ids such as `val/0`."""
    splits = []
    for number, (name, images) in enumerate(zip(("train", "val", "test"), parts, strict=True)):
        found = {key: values[number] for key, values in targets.items()} or {"label": np.zeros(len(images), np.int64)}
        splits.append(Split(images, found, np.array([f"{name}/{k}" for k in range(len(images))])))
    return Dataset("made", *splits, ("a", "b"))


def found_pairs(images: np.ndarray) -> set[tuple[int, int]]:
    nothing = images[:1] * 0
    pairs = duplicates.find(Pool(dataset(images, nothing, nothing + 1))).pairs
    return {(one, other) for one, other in pairs.tolist() if other < len(images)}


# Duplicates


@pytest.mark.parametrize("kind", [*KINDS, "mirrored"])
def test_planted_near_duplicates_are_found(kind):
    rng, images = np.random.default_rng(1), textures(240, seed=0)
    copies = [image[:, ::-1] if kind == "mirrored" else near_duplicate(image, kind, rng) for image in images[:40]]
    found = found_pairs(np.concatenate([images, np.stack(copies)]))
    planted = {(k, 240 + k) for k in range(40)}
    assert len(found & planted) >= 0.9 * len(planted)
    assert len(found & planted) >= 0.9 * len(found)


def test_photos_of_any_size_are_compared():
    images = textures(60, seed=2, side=80)
    shifted = np.roll(images[:5], 3, axis=2)
    assert found_pairs(np.concatenate([images, shifted])) == {(k, 60 + k) for k in range(5)}


def test_few_images_and_those_without_pixels_are_no_duplicates_of_each_other():
    assert found_pairs(textures(3, seed=3)) == set()
    plain = np.broadcast_to(np.arange(10, 60, 10, dtype=np.uint8)[:, None, None, None], (5, 32, 32, 3)).copy()
    assert found_pairs(plain) == set()


def test_exact_duplicates_groups_and_what_to_leave_out():
    images = textures(20, seed=4)
    train, val, test = images[[0, 1, 2, 0, 3]], images[[4, 1]], images[[5, 3, 6]]
    found = duplicates.find(Pool(dataset(train, val, test)))
    assert found.pairs.tolist() == [[0, 3], [1, 6], [4, 8]] and found.is_exact.all()
    assert [group.tolist() for group in found.groups] == [[1, 6], [4, 8], [0, 3]]
    assert found.twins(2, 0).tolist() == [8] and found.twins(1, 0).tolist() == [6]
    assert found.surplus() == {3: 0, 4: 8, 6: 1}


# Labels


def test_wrong_labels_are_found_by_the_probabilities_of_imperfect_classifiers():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 10, 20_000)
    strength = np.where(rng.random(20_000) < 0.8, 7, 2)[:, None]  # most images are easy, others hard
    logits = strength * np.eye(10)[true] + rng.gumbel(size=(20_000, 10))
    given = wrong_labels(true, 10, 0.03, rng)
    probabilities = np.exp(1.7 * logits)  # too sure of themselves
    found = noise.estimate(probabilities / probabilities.sum(axis=1, keepdims=True), given)
    wrong = given != true
    likely = found.likely
    assert found.rate == pytest.approx(0.03, abs=0.012)
    assert (np.diff(found.wrong[likely]) <= 0).all()
    assert (found.suggested != given).all()
    assert wrong[likely].sum() >= 0.7 * wrong.sum() and wrong[likely].mean() >= 0.7
    assert (found.suggested[likely] == true[likely])[wrong[likely]].mean() > 0.85


def test_right_labels_are_not_likely_wrong():
    labels = np.arange(3000) % 3
    found = noise.estimate(0.9 * np.eye(3)[labels] + 0.1 / 3, labels)
    assert len(found.likely) == 0


@pytest.mark.slow
def test_planted_wrong_labels_of_digits_are_found():
    data = DATASETS.build({"name": "digits", "test_fraction": 0.2, "val_fraction": 0.1, "limit": None}, seed=0)
    true = Pool(data).labels
    given = wrong_labels(true, 10, 0.03, np.random.default_rng(0))
    parts = np.split(given, np.cumsum([len(data.train), len(data.val)]))
    splits = [Split(part.images, {"label": labels}) for part, labels in
              zip((data.train, data.val, data.test), parts, strict=True)]  # fmt: skip
    pool = Pool(Dataset("digits", *splits, data.class_names))
    found = noise.estimate(folds.classified(pool, 0, False, lambda number: None).probabilities, given).likely
    wrong = np.flatnonzero(given != true)
    assert len(np.intersect1d(found, wrong)) >= 0.7 * max(len(found), len(wrong))


# Images, boxes and masks


def test_odd_images():
    images = textures(120, seed=5)
    images[3] = 77
    images[4] = 100 + np.arange(32)[:, None] % 2
    images[5] = images[5].mean(axis=-1, keepdims=True)
    images[6] = 0
    images[6, 4, 4] = 255
    found = oddities.odd_images(Pool(dataset(images[:100], images[100:110], images[110:])))
    assert {name: numbers.tolist() for name, numbers in found.items()} == {
        "of one color": [3], "nearly without contrast": [4], "nearly black": [6],
        "gray among images in color": [4, 5, 6],
    }  # fmt: skip


def test_odd_boxes_and_masks():
    images = textures(4, seed=6)
    boxes = np.array([[[2, 2, 9, 9], [2, 2, 9, 9.1]], [[2, 2, 40, 9], [0, 0, 0, 0]], [[2, 2, 3, 9], [0, 0, 0, 0]],
                      [[2, 2, 9, 9], [12, 2, 19, 9]]], np.float32)  # fmt: skip
    classes = np.array([[1, 1], [0, -1], [0, -1], [1, 1]])
    masks = np.zeros((4, 32, 32), np.uint8)
    masks[1] = 2
    masks[2, :4], masks[3, :9] = 1, 255
    split = Split(images, {"boxes": boxes, "classes": classes, "crowd": classes > 5, "mask": masks})
    found = oddities.odd_annotations(Pool(Dataset("made", split, split.take(np.arange(0)), split.take(np.arange(0)),
                                                  ("a", "b"))))  # fmt: skip
    assert {name: numbers.tolist() for name, numbers in found.items()} == {
        "two boxes around one object": [0], "a box beyond the image": [1], "a box of less than 2 pixels": [2],
        "a mask without a class": [0, 3], "a mask of one class only": [1],
    }  # fmt: skip


# The command


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with a class of blots and one of their negatives, a twin across splits, and a file that is no image."""
    images = textures(40, seed=7)
    for number, image in enumerate(images):
        part = "test" if number % 4 == 0 else "train"
        for name, pixels in (("blot", image), ("negative, <b>", 255 - np.rot90(image))):
            path = tmp_path / "photos" / part / name / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    Image.fromarray(np.roll(images[0], 2, axis=1)).save(tmp_path / "photos/train/blot/twin.png")
    (tmp_path / "photos/train/blot/broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


def test_the_findings_are_printed_shown_and_left_out(photos, tmp_path, command, compose):
    page, excluded, store = tmp_path / "page.html", tmp_path / "excluded.csv", sqlite(tmp_path)
    data = ["data=folder", f"data.path={photos}"]
    done = command(store, "audit", *data, "--skip-labels", "--html", page, "--exclude", excluded)
    assert done.code == 0, done
    rows = [line.split("  ") for line in done.stdout.splitlines()]
    found = {row[0]: next(cell for cell in row[1:] if cell).strip() for row in rows if len(row) > 1}
    assert found["test images with a twin in train"] == found["near duplicates"] == found["invalid files"] == "1"
    assert "broken.png: cannot be read" in done.stdout
    text = page.read_text()
    assert MARK in text[:1024] and "<b>" not in text and "twin.png" in text
    assert text.count("data:image/png") > 4
    lines = [line for line in excluded.read_text().splitlines() if not line.startswith("#")]
    (row,) = csv.DictReader(lines)
    assert row == {"image": "train/blot/twin.png", "reason": "duplicate", "detail": "of test/blot/00.png (test)"}

    done = command(store, "audit", *data, "--skip-labels", "--html", page, "--json")
    checks = {check["check"]: check["found"] for check in json.loads(done.stdout)["checks"]}
    assert checks["near duplicates"] == checks["invalid files"] == 1

    (photos / "train/blot/broken.png").unlink()
    whole, rest = (load(compose(*data, *more)) for more in ([], [f"data.exclude={excluded}"]))
    ids = [set(part.train.ids) | set(part.val.ids) for part in (whole, rest)]
    assert ids[0] - ids[1] == {"train/blot/twin.png"} and not ids[1] - ids[0]
    assert rest.test_fingerprint == whole.test_fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "has no column image"),
        ("# data: cifar100\nimage\ndigit/1\n", "is a list of images of cifar100; accepted: one of digits"),
        ("image\ndigit/99999\n", "the data have no image digit/99999"),
    ],
)
def test_lists_of_other_images_are_refused(mistake, tmp_path, content, message):
    path = tmp_path / "list.csv"
    path.write_text(content)
    assert message in mistake("data=digits", f"data.exclude={path}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=cnn3"], "audit model=cnn3: should be a setting of the data"),
        (["data=digts"], "data=digts: unknown choice; did you mean 'digits'?"),
        (["data=digits", "--html", "/nowhere/page.html"], "--html /nowhere/page.html: cannot be written"),
    ],
)
def test_mistakes(command, tmp_path, arguments, message):
    done = command(sqlite(tmp_path), "audit", *arguments)
    assert (done.code, done.stdout) == (2, "") and message in done.stderr, done


def test_all_invalid_annotations_are_listed(tmp_path, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")  # lines with paths are cut where they are too long
    root = write_coco(tmp_path / "coco")
    file = next(root.rglob("instances_train2017.json"))
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"] = [0, 0, 999, 5]
    content["annotations"][1]["bbox"] = [1, 1, 0, 5]
    write_json(file, content)
    (root / "train2017" / content["images"][3]["file_name"]).write_bytes(b"no image")
    settings = ["data=coco", f"data.path={root}", "data.size=16", "data.val_fraction=0.25"]
    done = command(sqlite(tmp_path), "audit", *settings, "--skip-labels", "--html", tmp_path / "page.html")
    assert done.code == 0, done
    assert "exceeds the image" in done.stdout and "has no area" in done.stdout and "cannot be read" in done.stdout


@pytest.mark.parametrize("write", [write_voc, write_masks])
def test_annotated_photos_are_shown_with_their_annotations(write, tmp_path, command):
    root, name = write(tmp_path / "data"), write.__name__.removeprefix("write_")
    settings = [f"data={name}", f"data.path={root}", "data.size=16", "data.val_fraction=0.25"]
    classes = ["data.classes=[object]"] if name == "masks" else []
    page = tmp_path / "page.html"
    done = command(sqlite(tmp_path), "audit", *settings, *classes, "--html", page)
    assert done.code == 0, done
    assert "not checked: the images have no labels" in done.stdout and "data:image/png" in page.read_text()


def test_a_run_is_evaluated_without_the_test_images_that_have_a_twin_in_training(quickstart, command, monkeypatch):
    monkeypatch.setattr("cifar.audit.duplicates.tests_with_twins", lambda dataset: np.arange(200))
    done = command(quickstart.uri, "evaluate", quickstart.id, "--twins")
    assert done.code == 0, done
    lines = done.stdout.splitlines()
    total = next(float(line.split()[1]) for line in lines if line.startswith("test/accuracy "))
    number = next(k for k, line in enumerate(lines) if "have a twin in training" in line)
    assert lines[number].startswith("200 of 359 test images (55.7 %)")
    name, *_, rest, _, _, both = lines[number + 2].replace(",", "").split()
    assert name == "test/accuracy" and float(both) == total and 0 < float(rest) <= 1


def test_test_images_with_a_twin_in_training():
    images = textures(60, seed=8)
    shifted = np.roll(images[:2], 2, axis=1)
    found = duplicates.tests_with_twins(dataset(images[:40], images[40:50], np.concatenate([images[50:], shifted])))
    assert found.tolist() == [10, 11]

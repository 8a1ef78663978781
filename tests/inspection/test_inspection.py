"""The command `data`: what it prints and draws of a data set."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from cifar.data.invalid_files import Invalid
from cifar.data.photos import cache
from cifar.files.ownership import MARK, is_own
from cifar.inspection import sheet, summary
from cifar.interfaces import Dataset, Split
from cifar.runtime.live import LiveLines
from helpers.annotated_files import write_coco
from helpers.data_files import write_folder
from helpers.runs import sqlite


def dataset(class_names: tuple[str, ...] = ("cat", "dog"), count: int = 6, **targets: np.ndarray) -> Dataset:
    """A data set of `count` training images with these targets, the first three of which are the test images too."""
    split = Split(np.zeros((count, 8, 8, 1), np.uint8), targets, np.array([f"train/{k}.png" for k in range(count)]))
    return Dataset("pets", split, split.take(np.arange(0)), split.take(np.arange(3)), class_names)


def table(of: Dataset) -> dict[str, list[str]]:
    """The rows of the table of counts, by their first cell."""
    lines = summary.as_text(of, Invalid("skip"), 120).split("\n\n", 1)[1].splitlines()
    rows = [[cell.strip() for cell in line.split("  ") if cell] for line in lines]
    return {row[0]: row[1:] for row in rows}


LABELS = np.array([[1, 1], [0, 1], [0, 0], [0, 1], [0, 1], [0, 1]], bool)


@pytest.mark.parametrize(
    ("targets", "cat", "dog", "without"),
    [
        ({"label": np.array([0, 1, 1, 1, 1, 1])}, ["1", "1", "2"], ["5", "2", "7"], None),
        ({"labels": LABELS}, ["1", "1", "2"], ["5", "2", "7"], ["1", "1", "2"]),
        ({"classes": np.array([[0, 0, 1], *[[1, -1, -1]] * 5])}, ["1", "1", "2"], ["6", "3", "9"], None),
        ({"mask": np.arange(6, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2) % 3}, ["2", "1", "3"],
         ["2", "1", "3"], ["2", "1", "3"]),
    ],
    ids=["label", "labels", "boxes", "masks"],
)  # fmt: skip
def test_images_are_counted_by_split_and_class(targets, cat, dog, without):
    rows = table(dataset(**targets))
    assert rows["images with"] == ["train", "test", "all"]
    assert (rows["cat"], rows["dog"], rows.get("(no class)")) == (cat, dog, without)
    assert rows["all images"] == ["6", "3", "9"]


def test_of_many_classes_the_most_and_the_least_frequent_are_listed():
    names = tuple(f"class {k}" for k in range(100))
    rows = table(dataset(names, 200, label=np.arange(200) % 100 * (np.arange(200) % 2)))
    assert len(rows) == 1 + 40 + 1 + 1
    assert list(rows)[1] == "class 0" and "… 60 more" in rows


def test_invalid_files_are_listed_up_to_a_number():
    invalid = Invalid("skip")
    invalid.faults = [("photo", f"photo {k}: broken\n") for k in range(29)] + [("row", "line 3: empty")]
    text = summary.as_text(dataset(label=np.zeros(6, np.int64)), invalid, 120)
    assert "invalid, which a training refuses unless data.on_invalid=skip: 29 photos, 1 rows" in text
    assert "  photo 19: broken�" in text and "  … 10 more" in text


def test_examples_are_of_all_classes_and_named():
    found = sheet.figure(dataset(labels=LABELS))
    assert isinstance(found, Figure)
    titles = [axes.get_title() for axes in found.axes if axes.get_title()]
    assert titles[:3] == ["cat, dog\ntrain/0.png", "dog\ntrain/1.png", "(no class)\ntrain/2.png"]
    frequent = dataset(count=300, label=np.arange(300) // 299)
    chosen = sheet.chosen(frequent.train, 2)
    assert 299 in chosen and len(set(chosen)) == sheet.EXAMPLES


def test_the_command_prints_and_draws_and_overwrites_its_own_file_only(tmp_path, command):
    root, picture = write_coco(tmp_path / "coco"), tmp_path / "sheet.png"
    settings = ["data=coco", f"data.path={root}", "data.size=16", "data.val_fraction=0.25"]
    done = command(sqlite(tmp_path), "data", *settings, "--sheet", picture)
    assert done.code == 0, done
    assert re.search(r"photos: .*; \d+×\d+ to \d+×\d+ pixels, median", done.stdout), done.stdout
    assert "size: 16×16 pixels, 3 channels" in done.stdout and f"{picture} has examples" in done.stdout
    assert is_own(picture) and picture.read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "mlflow.db").exists()
    picture.write_bytes(picture.read_bytes().replace(MARK.encode(), b"x" * len(MARK)))
    done = command(sqlite(tmp_path), "data", *settings, "--sheet", picture)
    assert done.code == 2 and "is another program's file" in done.stderr


def test_a_terminal_shows_what_is_being_done(tmp_path, command, monkeypatch):
    shown = []
    monkeypatch.setattr(LiveLines, "show", lambda self, lines: shown.append(lines[0]))
    assert command(sqlite(tmp_path), "data", "data=digits", "--sheet", tmp_path / "sheet.png").code == 0
    assert shown == ["loading data=digits …", "drawing examples …"]


def test_clear_removes_the_decoded_photos(tmp_path, monkeypatch, command):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = ["data=folder", f"data.path={write_folder(tmp_path)}", "data.size=8", "data.val_fraction=0.25"]
    done = command(sqlite(tmp_path), "data", *settings, "--sheet", tmp_path / "sheet.png")
    assert done.code == 0 and f"in {tmp_path}/cache/cifar/photos" in done.stdout, done
    assert len(cache.entries()) == 1
    done = command(sqlite(tmp_path), "data", "--clear")
    assert done.code == 0 and "are removed from" in done.stdout, done
    assert cache.entries() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "data: needs the settings of the data, such as data=folder data.path=DIR, or --clear"),
        (["--clear", "data=digits"], "data --clear data=digits: removes the decoded photos of all data"),
        (["model=cnn3"], "data model=cnn3: should be a setting of the data"),
        (["data=digts"], "data=digts: unknown choice; did you mean 'digits'?"),
        (["data=folder"], "data.path: required setting is missing"),
    ],
)
def test_mistakes(command, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = command(sqlite(tmp_path), "data", *arguments)
    assert (done.code, done.stdout) == (2, "") and message in done.stderr, done
    assert not (tmp_path / "data_examples.png").exists()

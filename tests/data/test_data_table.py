"""Photos with a table of their labels, in the forms that people have."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from cifar.interfaces import Dataset, Split
from helpers.data_files import build, refused

ROWS = [{"file": f"{k:02}.png", "label": ("ant", "bee", "cow")[k % 3]} for k in range(24)]


def photos(folder: Path, names: Sequence[str]) -> None:
    """Photos of 12×16 pixels, the gray level of which is their number in `names`."""
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 16, 3), k, np.uint8)).save(folder / name)


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table in the format of the file's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".json":
            path.write_text(json.dumps(rows))
        case ".parquet":
            parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with the photos of `ROWS`."""
    photos(tmp_path / "pets", [row["file"] for row in ROWS])
    return tmp_path / "pets"


DEFAULTS = {"table": None, "file_column": None, "label_column": None, "separator": None, "split_column": "split",
            "size": 8, "test_fraction": 0.25, "on_invalid": "error", "reader": 2}  # fmt: skip


def made(path: Path, **settings: Any) -> Dataset:
    return build("table", path, **{**DEFAULTS, **settings})


def message(path: Path, **settings: Any) -> str:
    return refused("table", path, **{**DEFAULTS, **settings})


def labels(split: Split, target: str = "label") -> dict[str, Any]:
    """The label of each image by its id."""
    return {str(name): split.targets[target][k].tolist() for k, name in enumerate(split.ids)}


def all_labels(dataset: Dataset, target: str = "label") -> dict[str, Any]:
    splits = [dataset.train, dataset.val, dataset.test]
    found = {name: label for split in splits for name, label in labels(split, target).items()}
    assert sum(map(len, splits)) == len(found)
    return found


EXPECTED = {row["file"]: k % 3 for k, row in enumerate(ROWS)}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_a_class_for_each_file(root, suffix):
    write(root / f"labels{suffix}", ROWS)
    dataset = made(root, val_fraction=1 / 3)
    assert dataset.name == "pets" and dataset.class_names == ("ant", "bee", "cow")
    assert all_labels(dataset) == EXPECTED
    assert [np.bincount(split.targets["label"]).tolist() for split in (dataset.train, dataset.val, dataset.test)] == [
        [4, 4, 4], [2, 2, 2], [2, 2, 2],
    ]  # fmt: skip
    assert all(dataset.train.images[k].max() == int(name[:2]) for k, name in enumerate(dataset.train.ids))
    assert made(root / f"labels{suffix}", val_fraction=1 / 3).fingerprint == dataset.fingerprint


def test_a_csv_of_excel_and_other_names_of_columns(root):
    lines = ["ID;Species;Keeper", *(f"{row['file'][:2]};{row['label'].upper()};x" for row in ROWS)]
    (root / "list.csv").write_bytes(("\r\n".join(lines) + "\r\n").encode("utf-8-sig"))
    dataset = made(root, label_column="Species")
    assert dataset.class_names == ("ANT", "BEE", "COW") and all_labels(dataset) == EXPECTED


def test_numbers_are_classes_in_their_order(root):
    write(root / "labels.jsonl", [{**row, "label": 11.0 - k % 3} for k, row in enumerate(ROWS)])
    assert made(root).class_names == ("9", "10", "11")


def test_any_number_of_classes_of_which_some_may_have_no_training_image(root, capsys):
    rows = [{"file": row["file"], "tags": [f"{tag:03}" for tag in range(300 + k // 23)],
             "split": "train" if k < 18 else "test"} for k, row in enumerate(ROWS)]  # fmt: skip
    write(root / "labels.jsonl", rows)
    assert len(made(root).class_names) == 301
    assert "no training image of '300'" in capsys.readouterr().err


SETS = [["ant"], ["ant", "bee"], [], ["cow", "bee"]]
EXPECTED_SETS = {row["file"]: [name in SETS[k % 4] for name in ("ant", "bee", "cow")] for k, row in enumerate(ROWS)}


@pytest.mark.parametrize("form", ["list.parquet", "list.jsonl", "json.csv", "python.csv", "cut.csv", "columns.csv"])
def test_several_labels(root, form):
    stem, settings = form.partition(".")[0], {}
    for k, row in enumerate(rows := [{"file": row["file"]} for row in ROWS]):
        names = SETS[k % 4]
        match stem:
            case "list":
                row["tags"] = names
            case "json":
                row["tags"] = json.dumps(names)
            case "python":
                row["tags"] = str(names)
            case "cut":
                row["tags"], settings = " | ".join(names), {"separator": "pipe"}
            case "columns":
                row |= {name: int(name in names) for name in ("ant", "bee", "cow")}
                settings = {"label_column": ["ant", "bee", "cow"]}
    write(root / form, rows)
    dataset = made(root, **settings)
    assert dataset.class_names == ("ant", "bee", "cow")
    assert all_labels(dataset, "labels") == EXPECTED_SETS
    assert dataset.train.targets["labels"].dtype == bool
    assert all(split.targets["labels"].any(axis=0).all() for split in (dataset.train, dataset.val, dataset.test))


def test_a_column_of_splits(root):
    write(root / "labels.csv", [{**row, "split": ("train", "Validation", "test", "train")[k // 6]}
                                for k, row in enumerate(ROWS)])  # fmt: skip
    dataset = made(root)
    assert [sorted(split.ids) for split in (dataset.train, dataset.val, dataset.test)] == [
        [ROWS[k]["file"] for k in part] for part in ([*range(6), *range(18, 24)], range(6, 12), range(12, 18))
    ]


@pytest.mark.parametrize(("name", "table"), [("{}.csv", None), ("lists/{}_labels.csv", "lists")])
def test_a_table_for_each_split(root, name, table):
    write(root / name.format("train"), ROWS[:18])
    write(root / name.format("test"), ROWS[18:])
    dataset = made(root, table=table)
    assert sorted(dataset.test.ids) == [row["file"] for row in ROWS[18:]] and len(dataset.val) in (4, 5, 6)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("is_split", [True, False], ids=["in each split", "in the root"])
def test_imagefolder_of_hugging_face(tmp_path, suffix, is_split):
    parts = {"train": ROWS[:12], "validation": ROWS[12:18], "test": ROWS[18:]}
    names = [f"{part}/{row['file']}" for part, rows in parts.items() for row in rows]
    photos(tmp_path / "pets", names)
    rows = [{"file_name": name, "label": row["label"]} for name, row in zip(names, ROWS, strict=True)]
    if is_split:
        for part in parts:
            own = [{**row, "file_name": row["file_name"].partition("/")[2]} for row in rows
                   if row["file_name"].startswith(part)]  # fmt: skip
            write(tmp_path / "pets" / part / f"metadata{suffix}", own)
    else:
        write(tmp_path / "pets" / f"metadata{suffix}", rows)
    dataset = made(tmp_path / "pets")
    assert all_labels(dataset) == {name: k % 3 for k, name in enumerate(names)}
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [12, 6, 6]


def test_an_archive_is_read_as_its_folder_is(root):
    write(root / "labels.csv", ROWS)
    with zipfile.ZipFile(root.parent / "pets.zip", "w") as archive:
        for file in sorted(root.iterdir()):
            archive.write(file, f"pets/{file.name}")
    assert made(root.parent / "pets.zip").fingerprint == made(root).fingerprint


@pytest.mark.parametrize("form", ["/home/ann/{}", "C:\\photos\\{}", "pets/{}", "{}"])
def test_files_are_found_by_their_last_names(tmp_path, form):
    names = [f"photos/{row['file'][:1]}/{row['file'][1:]}" for row in ROWS]
    photos(tmp_path / "pets", names)
    rows = [{"file": form.format(name.removeprefix("photos/")), "label": row["label"]}
            for name, row in zip(names, ROWS, strict=True)]  # fmt: skip
    write(tmp_path / "pets" / "labels.csv", rows)
    assert all_labels(made(tmp_path / "pets")) == {name: k % 3 for k, name in enumerate(names)}


def test_boxes_of_a_row_each(root):
    rows = [{"filename": row["file"], "class": row["label"], "xmin": k % 4, "ymin": 0, "xmax": 8 + k % 4, "ymax": 6.0}
            for k, row in enumerate(ROWS)]  # fmt: skip
    rows[1] = dict.fromkeys(rows[1], "") | {"filename": "01.png"}
    write(root / "boxes.csv", [*rows, {**rows[0], "class": "cow", "xmin": 2}])
    dataset = made(root, size=16)
    found = all_labels(dataset, "classes")
    assert [label for label in found["01.png"] if label >= 0] == []
    assert [label for label in found["00.png"] if label >= 0] == [0, 2]
    number = int(next(name for name in dataset.train.ids if name not in ("00.png", "01.png"))[:2])
    assert found[ROWS[number]["file"]][0] == number % 3
    row = dataset.train.ids.tolist().index(ROWS[number]["file"])
    assert dataset.train.targets["boxes"][row, 0].tolist() == [number % 4, 2, 8 + number % 4, 8]


LINE = "labels.csv: line 3"


@pytest.mark.parametrize(
    ("changes", "settings", "expected"),
    [
        ({"file": "nosuch.png"}, {}, "nosuch.png: no such file, referenced in "),
        ({"file": ""}, {}, f"{LINE}: file is empty; accepted: the name of a file"),
        ({"file": "../../etc/passwd"}, {}, "passwd: no such file, referenced in "),
        ({"label": " "}, {}, f"{LINE}: label is empty; accepted: a class"),
        ({"file": "00.png"}, {}, f"{LINE}: 00.png again, as in "),
        ({"split": "tset"}, {}, f"{LINE}: split=tset: no split; did you mean 'test'? accepted: train, val, test"),
        ({}, {"label_column": "lable"}, "data.label_column=lable: no column of "),
        ({}, {"file_column": "fiel"}, "did you mean 'file'? accepted: file, label"),
        ({}, {"table": "lables.csv"}, "did you mean 'labels.csv'? accepted: a file below data.path"),
        ({"ant": 2}, {"label_column": ["ant"]}, f"{LINE}: ant=2; accepted: 0 or 1, as each column is a class"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_mistakes_name_line_and_column(root, changes, settings, expected):
    rows = [{**row, **dict.fromkeys(changes.keys() - row.keys(), "train" if "split" in changes else 0)} for row in ROWS]
    rows[1] |= changes
    write(root / "labels.csv", rows)
    assert expected in message(root, **settings)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"file,label\n00.png\n", "a.csv: line 2: 1 cells; accepted: 2, one a column"),
        ("a.csv", b"file,file\n00.png,ant\n", "line 1: column 'file' has no name of its own"),
        ("a.csv", "file,label\n00.png,éléphant\n".encode("latin-1"), "a.csv: cannot be read (UnicodeDecodeError"),
        ("a.csv", b"file,label\n", "a.csv: has no rows"),
        ("a.csv", b"x,y\n1,2\n", "a.csv: no column is called file_name, filename or alike; data.file_column=NAME"),
        ("a.jsonl", b'{"file": "00.png", "label": "ant"}\n[1]\n', "a.jsonl: line 2: is no object"),
        ("a.jsonl", b'{"file": "00.png", "label": {"a": 1}}\n', "a.jsonl: line 1: label is a dict; accepted: a text"),
        ("a.parquet", b"PAR1 no such file", "a.parquet: cannot be read (ArrowInvalid"),
        ("a.txt", b"", "has no table; accepted: a table as CSV, JSON lines or Parquet"),
    ],
)
def test_files_that_are_no_tables(root, name, content, expected):
    (root / name).write_bytes(content)
    assert expected in message(root)


def test_several_tables_need_a_choice(root):
    for name in ("a.csv", "b.csv"):
        write(root / name, ROWS)
    assert "has a.csv, b.csv; data.table=FILE chooses one" in message(root)
    assert len(made(root, table="b.csv").train) in (12, 13)


def test_all_invalid_rows_are_named_or_skipped_and_images_without_a_row_are_counted(root, capsys):
    rows = [dict(row) for row in ROWS]
    rows[1]["file"] = "nosuch.png"
    for k in (3, 4, 5):
        rows[k]["label"] = ""
    write(root / "labels.csv", rows)
    text = message(root)
    assert "nosuch.png: no such file" in text and "line 5: label is empty" in text and text.endswith("and 1 more")
    capsys.readouterr()
    dataset = made(root, on_invalid="skip")
    assert len(all_labels(dataset)) == 20
    said = capsys.readouterr().err
    assert "4 images are passed over, as no row has them: 01.png, 03.png, 04.png, 05.png" in said
    assert "4 skipped rows" in said


@pytest.mark.parametrize("is_one", [True, False], ids=["one file", "parts"])
def test_images_in_cells_of_parquet(root, tmp_path, is_one):
    """As Hugging Face saves data sets: the bytes of each photo, and numbers of classes whose names are metadata."""
    expected = made(root_with_splits(root))
    names = ["ant", "bee", "cow"]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    parts = [("train", ROWS[:10]), ("train", ROWS[10:14]), ("validation", ROWS[14:18]), ("test", ROWS[18:])]
    for number, (split, rows) in enumerate(parts):
        own = {"split": split} if is_one else {}
        cells = [{"image": {"bytes": (root / row["file"]).read_bytes(), "path": row["file"]},
                  "label": names.index(row["label"]), **own} for row in rows]  # fmt: skip
        parts[number] = split, cells
    if is_one:
        parts = [("all", [row for _, rows in parts for row in rows])]
    folder = tmp_path / "hub" / "data"
    folder.mkdir(parents=True)
    for number, (split, cells) in enumerate(parts):
        found = pyarrow.Table.from_pylist(cells).replace_schema_metadata(metadata)
        parquet.write_table(found, folder / f"{split}-{number:05}-of-00004.parquet", row_group_size=3)
    dataset = made(tmp_path / "hub")
    assert dataset.class_names == tuple(names)
    for part in ("train", "val", "test"):
        one, other = getattr(dataset, part), getattr(expected, part)
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.targets["label"], other.targets["label"])
    first = "data/all-00000-of-00004.parquet/image/0" if is_one else "data/train-00000-of-00004.parquet/image/0"
    assert dataset.train.ids[0] == first
    if is_one:
        assert made(folder / "all-00000-of-00004.parquet").test_fingerprint == dataset.test_fingerprint


def root_with_splits(root: Path) -> Path:
    splits = ["train"] * 14 + ["val"] * 4 + ["test"] * 6
    write(root / "labels.csv", [{**row, "split": split} for row, split in zip(ROWS, splits, strict=True)])
    return root


def test_an_image_that_a_cell_lacks_is_named(root):
    cells = [{"image": {"bytes": (root / row["file"]).read_bytes() if k != 5 else None, "path": row["file"]},
              "label": row["label"]} for k, row in enumerate(ROWS)]  # fmt: skip
    parquet.write_table(pyarrow.Table.from_pylist(cells), root / "labels.parquet")
    assert "labels.parquet/image/5: cannot be read (ValueError: the cell has no image)" in message(root)
    assert len(all_labels(made(root, on_invalid="skip"))) == 23

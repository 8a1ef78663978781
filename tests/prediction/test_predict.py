"""`python -m cifar predict`: answers for files of all kinds, and one line for each that cannot be read."""

from __future__ import annotations

import csv
import json
import re

import mlflow
import numpy as np
import pytest
from PIL import Image

from cifar.config.registry import DATASETS
from cifar.images.io import SUFFIXES
from cifar.runtime import output
from helpers.pictures import bomb
from helpers.processes import error_line


@pytest.fixture
def predict(command, quickstart):
    """predict(*arguments): `python -m cifar predict` with the run of the quickstart, which must answer without a word
    on standard error."""

    def run(*arguments):
        done = command(quickstart.uri, "predict", quickstart.id, *arguments)
        assert (done.code, done.stderr) == (0, "")
        return done.stdout

    return run


@pytest.fixture
def refuse(command, quickstart):
    """refuse(*arguments): the line in which the same is refused."""
    return lambda *arguments: error_line(command(quickstart.uri, "predict", quickstart.id, *arguments))


@pytest.fixture
def folder(tmp_path):
    """A folder with three images, two of them in a folder of its own, and other files."""
    place = tmp_path / "photos"
    for number, name in enumerate(("b.png", "more/a.JPG", "more/c.png")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        picture("L", (8 + number, 8)).save(place / name)
    for other in ("notes.txt", "b.png.predicted.png", ".hidden.png", ".cache/d.png"):
        (place / other).parent.mkdir(exist_ok=True)
        (place / other).write_bytes((place / "b.png").read_bytes())
    return place


def picture(mode: str, size: tuple[int, int]) -> Image.Image:
    gray = Image.fromarray(np.random.default_rng(0).integers(0, 256, size[::-1], np.uint8))
    return gray.convert(mode)


def answers(shown: str) -> list[dict]:
    return [json.loads(line) for line in shown.splitlines()]


def test_own_test_images_as_in_the_table(predict, quickstart, tmp_path):
    table = mlflow.artifacts.load_text(
        mlflow.MlflowClient(quickstart.uri).get_run(quickstart.id).info.artifact_uri + "/tables/predictions.csv"
    )
    rows = list(csv.DictReader(table.splitlines()))[:5]
    data = {"name": "digits", "test_fraction": 0.2, "val_fraction": 0.1, "limit": None}
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path, image in zip(paths, DATASETS.build(data, seed=0).test.images, strict=False):
        Image.fromarray(image[:, :, 0]).save(path)
    found = answers(predict(*paths))
    assert [answer["image"] for answer in found] == [str(path) for path in paths]
    for answer, row in zip(found, rows, strict=True):
        assert answer["answer"][0]["class"] == row["predicted"]
        assert answer["answer"][0]["probability"] == pytest.approx(float(row["confidence"]), abs=1e-5)


def test_images_of_any_size_and_mode_in_batches(predict, tmp_path, monkeypatch):
    monkeypatch.setattr("cifar.prediction.reading.BATCH", 3)
    paths = []
    for mode, size, name in [
        ("L", (1, 1), "dot.png"), ("1", (9, 5), "bits.png"), ("P", (33, 7), "palette.png"),
        ("LA", (8, 8), "la.png"), ("RGB", (640, 17), "wide.jpg"), ("RGBA", (7, 301), "tall.png"),
        ("CMYK", (20, 20), "print.jpg"), ("RGBA", (9, 12), "photo.webp"), ("RGB", (12, 9), "photo.bmp"),
        ("L", (9, 9), "scan.tif"), ("P", (30, 9), "drawing.gif"),
    ]:  # fmt: skip
        paths.append(tmp_path / name)
        picture("L" if mode == "LA" else mode, size).convert(mode).save(paths[-1])
    found = answers(predict(*paths))
    assert [answer["image"] for answer in found] == [str(path) for path in paths]
    for answer in found:
        probabilities = [entry["probability"] for entry in answer["answer"]]
        assert len(probabilities) == 5
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0.5 <= sum(probabilities) <= 1.00001


def test_folders_and_patterns(predict, folder):
    names = ["b.png", "more/a.JPG", "more/c.png"]
    for given, expected in ([folder], names), ([f"{folder}/m*/*.png", folder / "b.png"], [names[2], names[0]]):
        found = [answer["image"] for answer in answers(predict(*given))]
        assert found == [f"{folder}/{name}" for name in expected]


def test_table_in_a_terminal(predict, folder, monkeypatch):
    monkeypatch.setattr(output, "is_live", lambda _: True)
    monkeypatch.setenv("COLUMNS", "200")
    header, *rows = predict(folder).splitlines()
    found = answers(predict(folder, "--json"))
    assert header.split() == ["image", "answer"] and len(rows) == len(found) == 3
    for row, answer in zip(rows, found, strict=True):
        best = answer["answer"][0]
        assert row.split()[:4] == [answer["image"], best["class"], f"{best['probability']:.1%}".rstrip("%"), "%,"]


def test_files_of_answers_and_embeddings(predict, refuse, folder, tmp_path):
    found = answers(predict(folder, "--csv", tmp_path / "a.csv", "--embeddings", tmp_path / "e.npz"))
    predict(folder / "b.png", "--embeddings", tmp_path / "one.npy")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = [{"file": answer["image"], **answer["answer"][0]} for answer in found]
    assert [{**row, "probability": float(row["probability"])} for row in rows] == best
    with np.load(tmp_path / "e.npz") as kept:
        assert kept["files"].tolist() == [row["file"] for row in rows]
        embeddings = kept["embeddings"]
    assert embeddings.dtype == np.float32 and embeddings.shape[0] == 3 and np.ptp(embeddings, axis=0).max() > 0
    np.testing.assert_allclose(np.load(tmp_path / "one.npy"), embeddings[:1], rtol=1e-5)
    for option, name in ("--csv", "a.csv"), ("--embeddings", "one.npy"):
        line = refuse(folder, option, tmp_path / name)
        assert line == f"{option} {tmp_path / name}: is there already, and is not overwritten; accepted: a new file"
    assert refuse(folder, "--embeddings", tmp_path / "e.txt").endswith("the name should end in .npy or .npz")


class TestFilesThatCannotBeRead:
    @pytest.mark.parametrize(
        "kind", ["missing", "folder", "empty", "text", "truncated", "16-bit", "other", "bomb", "cut header", "bad CRC"]
    )
    def test_alone(self, refuse, tmp_path, kind, monkeypatch):
        path = tmp_path / "image.png"
        good = tmp_path / "good.gif"
        picture("L", (64, 64)).save(good, "PNG")
        content = {
            "empty": b"",
            "text": b"hello",
            "truncated": good.read_bytes()[:2000],
            "cut header": good.read_bytes()[:20],
            "bad CRC": good.read_bytes()[:50] + b"\0\0\0\0" + good.read_bytes()[54:],
            "bomb": bomb(),
        }
        if kind in content:
            path.write_bytes(content[kind])
        elif kind == "folder":
            path.mkdir()
            accepted = f"names of files that end in {', '.join(SUFFIXES)}"
            assert refuse(path) == f"{path}: no images there; accepted: {accepted}"
            return
        elif kind == "16-bit":
            Image.fromarray(np.zeros((8, 8), np.uint16)).save(path)
        elif kind == "other":
            picture("L", (8, 8)).save(path, format="PPM")
        line = refuse(path, "--csv", tmp_path / "answers.csv")
        assert line.startswith(f"{path}: cannot be read (")
        assert re.search(r"; accepted: (a PNG, .* image|intact images) of 8 bits a channel", line)
        assert not (tmp_path / "answers.csv").exists()

    def test_among_others_which_are_answered(self, command, quickstart, folder):
        truncated, text = folder / "more" / "a.JPG", folder / "text.png"
        truncated.write_bytes((folder / "b.png").read_bytes()[:90])
        text.write_text("hello")
        done = command(quickstart.uri, "predict", quickstart.id, folder)
        assert [answer["image"] for answer in answers(done.stdout)] == [f"{folder}/b.png", f"{folder}/more/c.png"]
        *named, last = done.stderr.splitlines()
        assert sorted(line.partition(": cannot be read")[0] for line in named) == [
            f"warning: {path}" for path in (truncated, text)
        ]
        assert (done.code, last) == (2, "error: 2 of 4 files cannot be read; the others are answered")

    def test_unknown_run(self, command, quickstart, folder):
        line = error_line(command(quickstart.uri, "predict", "0" * 32, folder))
        assert line.startswith(f"run {'0' * 32}: ")

    def test_nothing_is_decoded_for_a_pattern_without_files(self, refuse, tmp_path):
        assert refuse(f"{tmp_path}/*.png").startswith(f"{tmp_path}/*.png: no images there; accepted: ")

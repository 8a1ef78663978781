"""Photos with several labels from a table to a service: two digits in each, and a CSV of both."""

from __future__ import annotations

import csv
import json

import pytest

from cifar import tracking
from cifar.runtime.paths import ROOT
from cifar.tracking import queries
from helpers.digit_pairs import write_pairs
from helpers.processes import run_warm
from helpers.runs import Recorded, sqlite
from helpers.serving import Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Recorded:
    """A training on photos of two digits each."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder / "pairs", 1500)
    arguments = ["task=multilabel", "data=table", "data.path=pairs", "data.size=16", "data.separator=semicolon",
                 "model.filters=[16,32]", "model.classifier.units=[]", "augmentation=none", "epochs=6", "batch_size=32",
                 f"tracking.uri={sqlite(folder)}"]  # fmt: skip
    process = run_warm(ROOT / "run.py", *arguments, cwd=folder)
    assert process.code == 0, process
    return Recorded(process, sqlite(folder), process.stdout.split()[1].rstrip(":"))


@pytest.fixture
def photos(recorded):
    """The folder of the photos."""
    return (ROOT / recorded.uri.removeprefix("sqlite:///")).parent / "pairs"


def test_it_learns_and_records_which_labels_are_wrong(recorded, photos):
    tracking.connect_existing(recorded.uri)
    (run,) = queries.find_runs([recorded.id])
    assert run.metrics["test/map"] > 0.8 and run.metrics["best/f1_micro"] > 0.6
    path = photos.parent / "mlruns" / recorded.id / "artifacts" / "tables" / "predictions.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    with (photos / "labels.csv").open() as file:
        labels = {row["file_name"]: row["labels"] for row in csv.DictReader(file)}
    assert rows and all(labels[row["image"]] == row["labels"] for row in rows)


def test_evaluate_records_the_same_metrics(recorded, photos, command, monkeypatch):
    monkeypatch.chdir(photos.parent)
    done = command(recorded.uri, "evaluate", recorded.id)
    assert done.code == 0, done
    tracking.connect_existing(recorded.uri)
    (run,) = queries.find_runs([recorded.id])
    assert f"{run.metrics['test/map']:.4f}" in done.stdout


def answers(recorded, photos, command, *files) -> list[list[dict]]:
    done = command(recorded.uri, "predict", recorded.id, *files, "--json")
    assert done.code == 0, done
    return [json.loads(line)["answer"] for line in done.stdout.splitlines()]


def test_predict_and_serve_answer_with_probabilities_of_classes(recorded, photos, command):
    files = [photos / "photos" / f"{number:04}.png" for number in range(3)]
    found = answers(recorded, photos, command, *files)
    for answer in found:
        assert len(answer) >= 5
        assert all(entry["predicted"] == (entry["probability"] > 0.5) for entry in answer)
    service = Service(recorded.uri, f"digits={recorded.id}")
    try:
        served = service.upload(files[0].read_bytes())
        assert served.code == 200, served
        assert [entry["class"] for entry in served.content["answer"]] == [entry["class"] for entry in found[0]]
        best = found[0][0]["class"]
        explained = service.ask("POST", f"/explain?class={best}", files[0].read_bytes(), content_type="image/png")
        assert (explained.code, explained.content["class"]) == (200, best)
    finally:
        service.end()


def test_export_is_evaluated_by_the_same_metrics(recorded, photos, command, monkeypatch, tmp_path):
    monkeypatch.chdir(photos.parent)
    done = command(recorded.uri, "export", recorded.id, tmp_path / "export", "--format", "savedmodel,tflite")
    assert done.code == 0, done
    card = json.loads((tmp_path / "export" / "1" / "model.json").read_text())
    assert card["formats"]["savedmodel"]["test"]["map"] == pytest.approx(card["test"]["map"], abs=1e-4)

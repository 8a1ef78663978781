"""Rows of answers with boxes, regions and nothing at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cifar.images.photos import Photo
from cifar.images.placement import Placement
from cifar.prediction.command import Progress
from cifar.prediction.recorded import Answered
from cifar.prediction.reports import Csv, summary
from helpers.terminals import Terminal

CAR = {"class": "car", "score": 0.91, "box": [1.0, 2.0, 30.0, 40.0]}
MASK = {"size": [2, 2], "counts": "04"}


def answered(name: str, answer: list[dict]) -> Answered:
    photo = Photo(np.zeros((1, 1, 1), np.uint8), Placement.of((1, 1), (1, 1), "crop"))
    return Answered(Path(name), photo, {}, answer, np.zeros(2))


def test_csv_of_boxes_has_a_row_for_each_and_one_for_an_image_without(tmp_path):
    report = Csv(tmp_path / "a.csv", is_classifier=False)
    for name, answer in ("none.png", []), ("two.png", [CAR, {**CAR, "class": 'a "dog", old'}]):
        report.add(answered(name, answer))
    report.close()
    assert (tmp_path / "a.csv").read_text() == (
        "file,class,score,left,top,right,bottom\n"
        "none.png,,,,,,\n"
        "two.png,car,0.91,1.0,2.0,30.0,40.0\n"
        'two.png,"a ""dog"", old",0.91,1.0,2.0,30.0,40.0\n'
    )


def test_csv_of_regions_has_no_masks(tmp_path):
    report = Csv(tmp_path / "a.csv", is_classifier=False)
    report.add(answered("b.png", [{"class": "background", "share": 0.75, "mask": MASK}]))
    report.close()
    assert (tmp_path / "a.csv").read_text() == "file,class,share\nb.png,background,0.75\n"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ([], "nothing"),
        ([CAR], "car 91.0 %"),
        ([{"class": str(number), "probability": 0.25} for number in range(4)], "0 25.0 %, 1 25.0 %, 2 25.0 %"),
    ],
)
def test_first_entries_in_a_line(answer, line):
    assert summary(answer) == line


def test_bar_on_a_terminal_is_erased_at_the_end(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    progress = Progress(1000)
    for _ in range(2):
        progress.advance()
    assert screen.rows()[0].startswith("[------------------------] 1/1,000 images  ")
    progress.clear()
    assert screen.rows() == [""]

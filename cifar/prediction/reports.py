"""Answers for the user: lines of JSON, a table in the terminal, a CSV file, embeddings, and pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cifar.files import atomic, ownership
from cifar.images import photos
from cifar.images.io import encode_png, open_image
from cifar.interfaces import Task
from cifar.prediction.files import PICTURE, RECORD
from cifar.prediction.recorded import Answered
from cifar.runtime import live, terminal
from cifar.runtime.lazy import np

SHOWN = 3
"""Entries of an answer in the table."""
EDGES = ("left", "top", "right", "bottom")


class Report(Protocol):
    """Takes the answer for each image; `close` follows the last one."""

    def add(self, answered: Answered) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """A line of JSON for each image on standard output, at once."""

    def add(self, answered: Answered) -> None:
        live.clear()
        print(json.dumps(as_json(answered)), flush=True)

    def close(self) -> None:
        pass


class Table:
    """A table for the terminal, in the end: images with the first entries of their answers."""

    def __init__(self) -> None:
        self._rows = [["image", "answer"]]

    def add(self, answered: Answered) -> None:
        self._rows.append([str(answered.path), summary(answered.answer)])

    def close(self) -> None:
        if len(self._rows) > 1:
            print(terminal.table(self._rows, terminal.width()))


class Csv:
    """A CSV file: a row for each image of a classifier, else for each object or region of an image.

    An image in which nothing is found has a row with its name alone.
    """

    def __init__(self, path: Path, is_classifier: bool):
        self._path, self._is_classifier = path, is_classifier
        self._rows: list[dict[str, Any]] = []

    def add(self, answered: Answered) -> None:
        entries = answered.answer[:1] if self._is_classifier else answered.answer or [{}]
        self._rows.extend({"file": str(answered.path), **_flat(entry)} for entry in entries)

    def close(self) -> None:
        text = io.StringIO(newline="")
        columns = dict.fromkeys(["file", "class", *(name for row in self._rows for name in row)])
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        atomic.write(self._path, text.getvalue().encode("utf-8", "surrogateescape"))


class Embeddings:
    """Features of the images: `.npy` has float32 (n, channels), `.npz` that as `embeddings` next to `files`."""

    def __init__(self, path: Path):
        self._path = path
        self._files: list[str] = []
        self._features: list[np.ndarray] = []

    def add(self, answered: Answered) -> None:
        self._files.append(str(answered.path))
        self._features.append(answered.features)

    def close(self) -> None:
        content, embeddings = io.BytesIO(), np.array(self._features)
        if self._path.suffix == ".npz":
            np.savez(content, embeddings=embeddings, files=np.array(self._files))
        else:
            np.save(content, embeddings)
        atomic.write(self._path, content.getvalue())


class Pictures:
    """For dense prediction: the answer drawn on a copy of each photo, and as JSON, next to it."""

    def __init__(self, task: Task, paths: Sequence[Path]):
        """Raise `InputError` where another program's file is in the way."""
        self._task = task
        for path in paths:
            for written in _next_to(path):
                ownership.check(written)

    def add(self, answered: Answered) -> None:
        picture, record = _next_to(answered.path)
        predictions = {name: values[0] for name, values in answered.predictions.items()}
        channels = answered.photo.image.shape[-1]
        photo = photos.whole(open_image(answered.path, answered.path), channels, answered.path)
        drawn = self._task.draw(photo, predictions)
        ownership.write(picture, encode_png(drawn, ownership.MARK))
        content = {"generator": ownership.MARK, **as_json(answered)}
        ownership.write(record, (json.dumps(content) + "\n").encode())

    def close(self) -> None:
        pass


def as_json(answered: Answered) -> dict[str, Any]:
    """Return the file's name and the answer."""
    return {"image": str(answered.path), "answer": answered.answer}


def summary(answer: Sequence[Mapping[str, Any]]) -> str:
    """Return the first entries of an answer in a line, those that are predicted: `cat 97.1 %, dog 2.0 %`."""
    found = [entry for entry in answer if entry.get("predicted", True)]
    shown = [f"{entry['class']} {_share(entry):.1%}".replace("%", " %") for entry in found[:SHOWN]]
    return ", ".join(shown) or "nothing"


def _share(entry: Mapping[str, Any]) -> float:
    """The probability, score or share of an entry."""
    return next(value for value in entry.values() if isinstance(value, float))


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with its box as four columns, and without its mask."""
    flat = {name: value for name, value in entry.items() if name not in ("box", "mask")}
    return {**flat, **dict(zip(EDGES, entry.get("box", ()), strict=False))}


def _next_to(image: Path) -> tuple[Path, Path]:
    """The picture and the text that `predict` writes next to an image."""
    return Path(f"{image}{PICTURE}"), Path(f"{image}{RECORD}")

"""Lists of images that a training leaves out: `audit --exclude` writes them, the setting `data.exclude` names one.

A list is a CSV file with the header `image,reason,detail`. `image` is one of `Split.ids`; the other columns are for the
reader. Lines that begin with # are comments; `# data: NAME` says of which data set the images are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cifar.files import ownership
from cifar.files.safe_io import read_file, refusing
from cifar.interfaces import Dataset
from cifar.runtime.errors import InputError, closest
from cifar.runtime.lazy import np

COLUMNS = ("image", "reason", "detail")
ACCEPTED = "a CSV file with the column image, as `python -m cifar audit --exclude FILE` writes it"
DATA = "# data: "


@dataclass(frozen=True)
class Excluded:
    """An image to leave out, by its id, and why."""

    image: str
    reason: str
    detail: str


def write(path: Path, name: str, images: Iterable[Excluded], label: str) -> None:
    """Write a list for the data set called `name`; raises `InputError` where there is another file."""
    text = io.StringIO()
    text.write(f"# {ownership.MARK}.\n{DATA}{name}\n# data.exclude=FILE leaves these images out of a training.\n")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows([one.image, one.reason, one.detail] for one in images)
    ownership.write(path, text.getvalue().encode(), label)


def without(dataset: Dataset, path: str, is_limited: bool) -> Dataset:
    """Return `dataset` without the training and validation images of the list at `path`.

    Raises `InputError` for a file that is no such list, a list of another data set, a test image, and an unknown image
    unless the data set `is_limited` to some of its images.
    """
    where = f"data.exclude={path}"
    images = _read(Path(path).expanduser(), dataset.name, where)
    known = [set() if part.ids is None else set(part.ids.tolist()) for part in (dataset.train, dataset.val)]
    tests = set() if dataset.test.ids is None else set(dataset.test.ids.tolist())
    for image in images:
        if image in tests:
            raise InputError(f"{where}: {image} is a test image; accepted: training and validation images")
        if image not in known[0] and image not in known[1] and not is_limited:
            raise InputError(f"{where}: the data have no image {image}; {closest(image, known[0])}")
    parts = []
    for name, part in (("training", dataset.train), ("validation", dataset.val)):
        kept = np.flatnonzero(~np.isin(part.ids, list(images))) if part.ids is not None else np.arange(len(part))
        if not len(kept):
            raise InputError(f"{where}: leaves no {name} image; accepted: at least one")
        parts.append(part if len(kept) == len(part) else part.take(kept))
    return replace(dataset, train=parts[0], val=parts[1])


def _read(path: Path, name: str, where: str) -> set[str]:
    with refusing(where, ACCEPTED):
        lines = read_file(path).decode().splitlines()
        of = next((line.removeprefix(DATA) for line in lines if line.startswith(DATA)), name)
        rows = csv.DictReader(line for line in lines if not line.startswith("#"))
        if "image" not in (rows.fieldnames or ()):
            raise InputError(f"{where}: has no column image; accepted: {ACCEPTED}")
        images = {row["image"] for row in rows}
    if of != name:
        raise InputError(f"{where}: is a list of images of {of}; accepted: one of {name}")
    return images

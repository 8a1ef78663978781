"""A comparison as one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import numpy as np

from cifar import plots
from cifar.analysis import tables
from cifar.analysis.groups import Group, Letter
from cifar.analysis.predictions import Contrast, answer, by_class, contrasts
from cifar.analysis.report import Comparison
from cifar.files import ownership
from cifar.images.io import encode_png
from cifar.interfaces import Split
from cifar.runtime import terminal
from cifar.runtime.errors import InputError
from cifar.tracking import queries
from cifar.training.experiment import Experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
SHOWN = 20
"""Images of each contrast."""


@dataclass(frozen=True)
class Picture:
    """A figure or an image with its caption and a note; `source` is a data URI."""

    source: str
    caption: str
    note: str = ""


def check_path(path: Path) -> None:
    """Raises `InputError` where no file can be written at `path`, or one is there that is no such page."""
    ownership.check(path, f"--html {path}")


def write(comparison: Comparison, path: Path) -> None:
    """Write the page; raises `InputError` where it cannot be written."""
    ownership.write(path, render(comparison).encode(), f"--html {path}")


def template(folder: Path = HERE) -> jinja2.Template:
    """The template `page.html` of a folder, which may include `style.css`. What is put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["letter"] = lambda text: isinstance(text, Letter)
    return environment.get_template("page.html")


def png(image: np.ndarray) -> str:
    """An image, uint8 (height, width, channels), as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(encode_png(image)).decode()}"


def render(comparison: Comparison) -> str:
    """The text of the page. What comes from the store is escaped, and the page may run and load nothing."""
    groups = comparison.groups
    galleries, missing = _galleries(comparison)
    colors = {group.letter: plots.COLORS[place % len(plots.COLORS)] for place, group in enumerate(groups)}
    return template().render(
        mark=ownership.MARK,
        comparison=comparison,
        runs=[run for group in groups for run in group.runs],
        data=sorted({run.params.get("data.name", "") for group in groups for run in group.runs} - {""}),
        images=len(next(iter(comparison.answers.values())).label) if comparison.same_images else 0,
        colors=colors,
        curves=_curves(comparison),
        classes=_classes(comparison) if comparison.same_images else None,
        class_table=tables.classes(groups, comparison.answers) if comparison.same_images else None,
        galleries=galleries,
        missing=missing,
        metrics=tables.metrics(groups, comparison.answers),
        run_table=tables.runs(groups),
        made=datetime.now(),
    )


def _curves(comparison: Comparison) -> Picture:
    histories = {_title(group): [comparison.histories[run.id] for run in group.runs] for group in comparison.groups}
    return Picture(_svg(plots.overlaid_curves(histories)), "Learning curves of all settings")


def _classes(comparison: Comparison) -> Picture:
    names, _, accuracy = by_class(comparison.groups, comparison.answers)
    labels = [_title(group) for group in comparison.groups]
    return Picture(_svg(plots.class_accuracies(accuracy, names, labels)), "Accuracy of all settings on each class")


def _galleries(comparison: Comparison) -> tuple[list[tuple[Contrast, list[Picture]]], str]:
    """The clearest images of each contrast; or none, and why their images cannot be shown."""
    if not comparison.same_images:
        return [], ""
    found = list(contrasts(comparison.groups, comparison.answers))
    if not any(len(contrast.images) for contrast in found):
        return [(contrast, []) for contrast in found], ""
    try:
        test = _test_split(comparison)
    except InputError as error:
        return [], str(error)
    return [(contrast, list(_pictures(comparison, contrast, test))) for contrast in found], ""


def _test_split(comparison: Comparison) -> Split:
    """The images that the runs were evaluated on; raises `InputError` where they are not there any more."""
    run = comparison.groups[0].runs[0]
    dataset = Experiment.prepare(queries.settings(run)).dataset
    if run.test_images not in (dataset.test_fingerprint, dataset.fingerprint):
        raise InputError("data: the test images are not those of the runs any more")
    if len(dataset.test) != len(comparison.answers[run.id].label):
        raise InputError("data: the predictions are not of the test images")
    return dataset.test


def _pictures(comparison: Comparison, contrast: Contrast, test: Split) -> Iterator[Picture]:
    label = comparison.answers[contrast.better.runs[0].id].label
    for index in contrast.images[:SHOWN]:
        caption = f"{label[index]} · {test.name(index)}"
        yield Picture(png(test.images[index]), caption, answer(contrast.worse, comparison.answers, index))


def _title(group: Group) -> str:
    return f"{group.letter}  {terminal.printable(group.label)}"


def _svg(figure: Figure) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(plots.svg(figure)).decode()}"

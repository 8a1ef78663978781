"""The findings of an audit as one self-contained HTML file, with pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from cifar.analysis import html
from cifar.analysis.html import Picture
from cifar.analysis.tables import Table
from cifar.audit import report
from cifar.audit.findings import Findings
from cifar.audit.pool import SPLITS, shrunk
from cifar.files import ownership
from cifar.images.overlay import draw_targets
from cifar.runtime.paths import COMMAND

GROUPS, MEMBERS = 40, 8
"""Groups of duplicates, and images of a group, that are shown."""
LABELS, OTHERS, LINES = 120, 30, 200
"""Likely wrong labels, images of another kind, and messages that are shown."""
SIDE = 160
"""Longer side in pixels to which larger pictures are reduced."""


@dataclass(frozen=True)
class Gallery:
    """Pictures under a heading, in rows; `total` counts what there is to show."""

    heading: str
    rows: list[list[Picture]]
    total: int
    shown: int


def write(findings: Findings, path: Path, label: str) -> None:
    """Write the page; raises `InputError` where it cannot be written."""
    ownership.write(path, render(findings).encode(), label)


def render(findings: Findings) -> str:
    """The text of the page. File names and class names are escaped, and the page may run and load nothing."""
    counts = Table("Classes", report.class_counts(findings))
    return html.template(Path(__file__).parent).render(
        mark=ownership.MARK,
        title=report.title(findings),
        summary=Table("Summary", report.summary(findings)),
        classes=counts,
        galleries=[gallery for gallery in _galleries(findings) if gallery.total],
        invalid=findings.invalid[:LINES],
        invalid_total=len(findings.invalid),
        made=datetime.now(),
        command=f"{COMMAND} audit",
    )


def _galleries(findings: Findings) -> Iterable[Gallery]:
    split = findings.pool.split
    groups = findings.duplicates.groups
    across = [images for images in groups if len(np.unique(split[images])) > 1]
    within = [images for images in groups if len(np.unique(split[images])) == 1]
    yield _of_groups(findings, "Duplicates across splits", across)
    yield _of_groups(findings, "Duplicates within a split", within)
    contradictions = list(findings.contradictions)
    yield _of_groups(findings, "Duplicates of different classes", contradictions)
    if findings.noise is not None:
        likely = findings.noise.likely
        pictures = [_picture(findings, k, f"likely {findings.suggestion(k)}") for k in likely[:LABELS]]
        yield Gallery("Labels that are likely wrong", [pictures], len(likely), len(pictures))
    least_alike = findings.outliers[:OTHERS]
    pictures = [_picture(findings, k, f"distance {findings.distances[k]:.2f}") for k in least_alike]
    yield Gallery("Outliers: the images least like any other", [pictures], len(pictures), len(pictures))
    yield from _odd(findings, findings.images, "Images")
    yield from _odd(findings, findings.annotations, "Images with")


def _of_groups(findings: Findings, heading: str, groups: list[np.ndarray]) -> Gallery:
    rows = []
    for images in groups[:GROUPS]:
        order = images[np.argsort(-findings.pool.split[images], kind="stable")]
        rows.append([_picture(findings, k) for k in order[:MEMBERS]])
        if len(images) > MEMBERS:
            rows[-1].append(Picture("", f"and {len(images) - MEMBERS} more"))
    return Gallery(heading, rows, len(groups), len(rows))


def _odd(findings: Findings, found: Mapping[str, np.ndarray], what: str) -> Iterable[Gallery]:
    for name, numbers in found.items():
        pictures = [_picture(findings, k) for k in numbers[:OTHERS]]
        yield Gallery(f"{what} {name}", [pictures], len(numbers), len(pictures))


def _picture(findings: Findings, number: int, note: str = "") -> Picture:
    pool = findings.pool
    image = draw_targets(pool.image(number), pool.targets(number), pool.dataset.class_names)
    name = f"{pool.ids[number]} ({SPLITS[pool.split[number]]})"
    label = findings.label(number)
    return Picture(html.png(shrunk(image[None], SIDE)[0]), f"{label} · {name}" if label else name, note)

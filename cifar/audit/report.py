"""The findings of an audit in tables, for the terminal and the page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np

from cifar.audit.findings import Findings
from cifar.audit.pool import SPLITS
from cifar.interfaces import Split
from cifar.runtime import terminal

EXAMPLES = 5
"""Examples of a finding that the terminal shows."""
CLASSES = 4
"""Classes that a line names."""
UNBALANCED = 1.5
"""Ratio of the largest class to the smallest from which on classes are called unbalanced."""


def title(findings: Findings) -> str:
    """The data set in one line."""
    data, pool = findings.pool.dataset, findings.pool
    height, width, channels = data.image_shape
    parts = ", ".join(f"{len(part):,} {name}" for name, part in zip(SPLITS, pool.parts, strict=True))
    return f"{data.name}: {len(pool):,} images ({width}×{height}×{channels}): {parts}; {len(data.class_names)} classes"


def summary(findings: Findings) -> list[list[str]]:
    """A row for each check: what, how many, and details."""
    pool, twins = findings.pool, findings.duplicates
    exact, near = int(twins.is_exact.sum()), int((~twins.is_exact).sum())
    rows = [["check", "found", "details"], ["invalid files", f"{len(findings.invalid):,}", ""]]
    rows += [["exact duplicates", f"{exact:,}", "pairs"]]
    details = f"pairs, in {len(twins.groups):,} groups of duplicates; {int(twins.is_mirrored.sum()):,} pairs mirrored"
    rows += [["near duplicates", f"{near:,}", details if len(twins.pairs) else ""]]
    for of, within in ((2, 0), (2, 1), (1, 0)):
        count, total = len(twins.twins(of, within)), len(pool.parts[of])
        what = f"{SPLITS[of]} images with a twin in {SPLITS[within]}"
        rows.append([what, f"{count:,}", f"{100 * count / total:.1f} % of {total:,}"])
    if pool.labels is not None:
        rows.append(["twins of different classes", f"{len(findings.contradictions):,}", "pairs"])
    rows.append(_labels(findings))
    rows += [[f"images {name}", f"{len(numbers):,}", ""] for name, numbers in findings.images.items()]
    rows += [[f"images with {name}", f"{len(numbers):,}", ""] for name, numbers in findings.annotations.items()]
    return [*rows, _balance(findings)]


def class_counts(findings: Findings) -> list[list[str]]:
    """The number of images, or of objects, of each class in each split."""
    names = findings.pool.dataset.class_names
    rows = [["class", *SPLITS]]
    counts = [_counts(part, len(names)) for part in findings.pool.parts]
    rows += [[name, *(f"{count[k]:,}" for count in counts)] for k, name in enumerate(names)]
    return rows


def as_plain(findings: Findings) -> dict[str, Any]:
    """What JSON can hold of the findings: how many each check has found."""
    names, *rows = summary(findings)
    checks: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in rows]
    for check in checks:
        number = check["found"].replace(",", "")
        check["found"] = int(number) if number.isdecimal() else check["found"]
    return {"data": title(findings), "checks": checks}


def as_text(findings: Findings, columns: int) -> str:
    """The findings for a terminal of so many columns."""
    parts = [title(findings), terminal.table(summary(findings), columns)]
    if findings.noise is not None and len(findings.noise.likely):
        shown = findings.noise.likely[:EXAMPLES]
        rows = [["image", "label", "likely, and probability that the label is wrong"]]
        rows += [[findings.pool.ids[k], findings.label(k), findings.suggestion(k)] for k in shown]
        parts.append(f"The most likely wrong labels:\n{terminal.table(rows, columns)}")
    across = [images for images in findings.duplicates.groups if len(np.unique(findings.pool.split[images])) > 1]
    if across:
        lines = [_line(findings, images) for images in across[:EXAMPLES]]
        parts.append("Duplicates across splits:\n" + "\n".join(lines))
    if findings.invalid:
        parts.append("Invalid files:\n" + "\n".join(map(terminal.printable, findings.invalid[:EXAMPLES])))
    return "\n\n".join("\n".join(_filled(part, columns)) for part in parts)


def _labels(findings: Findings) -> list[str]:
    if findings.noise is None:
        return ["labels that are likely wrong", "—", f"not checked: {findings.unchecked}"]
    likely = findings.noise.likely
    names = [findings.label(k) for k in likely]
    counts = sorted(((names.count(name), name) for name in set(names)), key=lambda one: (-one[0], one[1]))
    shown = ", ".join(f"{name} {count:,}" for count, name in counts[:CLASSES])
    rest = " …" if len(counts) > CLASSES else ""
    rate = f"estimated: {100 * findings.noise.rate:.1f} % of all"
    return ["labels that are likely wrong", f"{len(likely):,}", f"{rate}; {shown}{rest}" if shown else rate]


def _balance(findings: Findings) -> list[str]:
    names = findings.pool.dataset.class_names
    counts = _counts(findings.pool.parts[0], len(names))
    ratio = counts.max() / max(counts.min(), 1)
    least, most = int(counts.argmin()), int(counts.argmax())
    if least == most:
        return ["largest to smallest class", "1.0", f"in training: each has {counts[least]:,}"]
    details = f"in training: {names[least]} {counts[least]:,} to {names[most]} {counts[most]:,}"
    return ["largest to smallest class", f"{ratio:.1f}", details + ("; unbalanced" if ratio >= UNBALANCED else "")]


def _counts(split: Split, classes: int) -> np.ndarray:
    """The number (classes,) of objects of each class, or of images with it if the data have no boxes."""
    targets = split.targets
    if "classes" in targets:
        return np.bincount(targets["classes"][targets["classes"] >= 0], minlength=classes)
    return split.images_by_class(classes)


def _line(findings: Findings, images: np.ndarray) -> str:
    pool, order = findings.pool, np.argsort(-findings.pool.split[images], kind="stable")
    shown = [f"{pool.ids[k]} ({SPLITS[pool.split[k]]})" for k in images[order][:CLASSES]]
    return terminal.printable(
        " = ".join(shown) + (f" and {len(images) - CLASSES} more" if len(images) > CLASSES else "")
    )


def _filled(text: str, columns: int) -> Iterable[str]:
    for line in text.splitlines():
        yield from textwrap.wrap(line, columns) if len(line) > columns else [line]

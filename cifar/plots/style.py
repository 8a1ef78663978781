"""Style of all figures: size, fonts, colors, axes, small print."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from cifar.plots.fonts import families, legible
from cifar.runtime.terminal import text_width

WIDTH = 8  # inches
DPI = 180  # 1440 pixels wide; SMALL is 9 pixels high where MLflow shows a picture 580 pixels wide
TITLE, TEXT, SMALL, PRINT = 12.5, 10, 9, 7.5  # points
LINE = 72
"""Characters of a line of a title."""
NO_BREAK = "\N{NO-BREAK SPACE}"

# Okabe and Ito's palette for color blindness (https://jfly.uni-koeln.de/color). Black text is legible on SKY, ORANGE.
BLUE, SKY, ORANGE, GREEN = "#0072B2", "#56B4E9", "#D55E00", "#009E73"
AMBER, PINK = "#E69F00", "#CC79A7"
GRAY, GRID = "#666666", "#E5E5E5"
COLORS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY)
"""Colors of the lines of a panel in their order; further ones repeat them in the next of `LINES`."""
LINES = ("-", "--", "-.", ":")


def new_figure(
    title: str,
    height: float,
    rows: int = 1,
    columns: int = 1,
    layout: Literal["constrained", "compressed"] = "constrained",
    **grid: Any,
) -> tuple[Figure, np.ndarray]:
    """Create a figure, `height` inches high below its title, which is wrapped, and its axes (rows, columns)."""
    whole = wrap(title.replace(" %", f"{NO_BREAK}%"), LINE) or [""]
    lines = [line.replace(NO_BREAK, " ") for line in whole]
    figure = Figure(figsize=(WIDTH, height + TITLE * 1.3 / 72 * len(lines)), dpi=DPI)
    figure.set_layout_engine(layout, w_pad=0.12, h_pad=0.08)
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=TITLE, fontweight="bold")
    axes = figure.subplots(rows, columns, squeeze=False, **grid)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GRAY)
        ax.tick_params(labelsize=SMALL, color=GRAY)
        ax.set_axisbelow(True)
    return figure, axes


def finish(figure: Figure, note: str) -> Figure:
    """Add the small print `note`, which says what a finished figure shows, at its foot; and fonts of all scripts."""
    foot = 2.2 * PRINT / 72 / figure.get_figheight()
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, foot, 1, 1 - foot))
    for legend in figure.legends:  # which the layout puts at the edge of the figure
        legend.borderaxespad += 2.2 * PRINT / SMALL
    figure.text(0.99, foot / 3, short(note, 130), ha="right", fontsize=PRINT, color=GRAY, in_layout=False)
    if len(families()) > 1:
        for text in figure.findobj(Text):
            text.set_fontfamily(families())
    return figure


def short(name: str, width: int = 16) -> str:
    """Shorten a name in the middle to `width` columns, dollar signs escaped, in characters that can be drawn."""
    name = legible(name)
    if text_width(name) > width:
        half = (width - 1) // 2
        name = f"{_fitting(name, half)}…{_fitting(name[::-1], half)[::-1]}"
    return name.replace("$", r"\$")


def style_of(place: int) -> dict[str, Any]:
    """Color and line style of the line with this number, from 0, in a panel."""
    return {"color": COLORS[place % len(COLORS)], "linestyle": LINES[place // len(COLORS) % len(LINES)]}


def best_and_worst(names: Sequence[str], scores: Sequence[float]) -> str:
    """The end of a title, `; best: cat, worst: dog`; several names of one score are counted.

    Empty if all scores are equal, that is if three decimals of them are, which is what figures show.
    """
    rounded = [f"{score:.3f}" for score in scores]
    if len(set(rounded)) < 2:
        return ""
    ends = []
    for score in (max(scores), min(scores)):
        equal = [name for name, own in zip(names, rounded, strict=True) if own == f"{score:.3f}"]
        ends.append(short(equal[0], 30) if len(equal) == 1 else f"{len(equal)} classes with {score:.3f}")
    return f"; best: {ends[0]}, worst: {ends[1]}"


def cut_outliers(ax: Axes, values: Sequence[float]) -> str:
    """Limit a vertical axis to most of the `values` where a few far above would flatten the rest.

    These are values above the 90th percentile by more than 10 times its distance from the least one. Returns what to
    say of them; empty if there are none.
    """
    finite = np.array([value for value in values if np.isfinite(value)])
    if len(finite) < 4:
        return ""
    low, usual = finite.min(), np.quantile(finite, 0.9, method="lower")
    far = finite[finite > usual + 10 * (usual - low)]
    if usual == low or not len(far):
        return ""
    highest = finite[finite <= usual + 10 * (usual - low)].max()
    margin = 0.05 * (highest - low)
    ax.set_ylim(low - margin, highest + margin)
    return f"{len(far)} value{'s' * (len(far) > 1)} above the panel, up to {far.max():.4g}"


def _fitting(text: str, width: int) -> str:
    """The beginning of `text` that takes at most `width` columns."""
    while text_width(text) > width:
        text = text[:-1]
    return text

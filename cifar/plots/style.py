"""Style of all figures: size, fonts, colors, axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

WIDTH = 12  # inches
DPI = 120  # 1440 pixels wide: sharp in MLflow's viewer, which is about 1000 pixels wide
TITLE, TEXT, SMALL = 15, 11, 9.5  # points

# Okabe and Ito's palette for color blindness (https://jfly.uni-koeln.de/color). Black text is legible on SKY, ORANGE.
BLUE, SKY, ORANGE, GREEN = "#0072B2", "#56B4E9", "#D55E00", "#009E73"
AMBER, PINK = "#E69F00", "#CC79A7"
GRAY, GRID = "#666666", "#E5E5E5"


def new_figure(
    title: str,
    height: float,
    rows: int = 1,
    columns: int = 1,
    layout: Literal["constrained", "compressed"] = "constrained",
    **grid: Any,
) -> tuple[Figure, np.ndarray]:
    """Create a figure `height` inches high and its axes (rows, columns)."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    figure.set_layout_engine(layout, w_pad=0.1, h_pad=0.1)
    figure.suptitle(title, x=0.01, ha="left", fontsize=TITLE, fontweight="bold")
    axes = figure.subplots(rows, columns, squeeze=False, **grid)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GRAY)
        ax.tick_params(labelsize=SMALL, color=GRAY)
        ax.set_axisbelow(True)
    return figure, axes


def short(name: str, width: int = 16) -> str:
    """Shorten a name in the middle to `width` characters, with dollar signs escaped."""
    half = (width - 1) // 2
    return (name if len(name) <= width else f"{name[:half]}…{name[-half:]}").replace("$", r"\$")


def best_and_worst(names: Sequence[str], scores: Sequence[float]) -> str:
    """The end of a title, `; best: cat, worst: dog`; several names of one score are counted, equal ones are not told.

    Scores are equal if three decimals of them are, which is what figures show.
    """
    rounded = [f"{score:.3f}" for score in scores]
    if len(set(rounded)) < 2:
        return ""
    ends = []
    for score in (max(scores), min(scores)):
        equal = [name for name, own in zip(names, rounded, strict=True) if own == f"{score:.3f}"]
        ends.append(short(equal[0]) if len(equal) == 1 else f"{len(equal)} classes with {score:.3f}")
    return f"; best: {ends[0]}, worst: {ends[1]}"

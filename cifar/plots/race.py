"""Figure of a race: the confidence sequences of the differences between contenders."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cifar.plots.style import AMBER, BLUE, GRAY, GRID, ORANGE, SMALL, TEXT, new_figure, short

PANELS = 12
"""Maximum number of pairs that are shown."""


def confidence_sequences(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], metric: str, margin: float, title: str
) -> Figure:
    """A panel per pair of contenders: the difference of each seed, the mean so far, and the confidence sequence.

    `pairs` maps a label to the differences (n,) and the bounds of their mean (n, 2), which may be infinite. Differences
    less than `margin` do not count.
    """
    shown = list(pairs.items())[:PANELS]
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure, axes = new_figure(title.replace("$", r"\$"), 1.3 + 2.8 * rows, rows, columns)
    for ax in axes.flat[len(shown) :]:
        ax.remove()
    for number, (ax, (label, (differences, bounds))) in enumerate(zip(axes.flat, shown, strict=False)):
        sizes = np.arange(1, len(differences) + 1)
        reach = 1.15 * np.abs([*differences, margin, *bounds[-1][np.isfinite(bounds[-1])]]).max() or 1
        edges = np.append(sizes - 0.5, len(sizes) + 0.5)
        band = np.clip([*bounds, bounds[-1]], -reach, reach).T  # all of the panel where nothing is excluded yet
        ax.axhline(0, color=GRAY, linewidth=1.2)
        if margin:
            ax.axhspan(-margin, margin, color=AMBER, alpha=0.2, linewidth=0, label=f"margin, {margin:g}")
        ax.fill_between(
            edges, *band, step="post", color=BLUE, alpha=0.2, linewidth=0, label="bounds, valid at all times"
        )
        ax.plot(sizes, np.cumsum(differences) / sizes, color=BLUE, linewidth=2.2, label="mean so far")
        ax.scatter(sizes, differences, s=24, color=ORANGE, zorder=3, linewidths=0, label="difference with one seed")
        ax.set_ylim(-reach, reach)
        ax.set_xlim(0.5, len(differences) + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.set_title(short(label, 90 // columns), fontsize=TEXT, loc="left")
        ax.set_xlabel("seeds", fontsize=TEXT)
        if number % columns == 0:
            ax.set_ylabel(f"difference of {metric}", fontsize=TEXT)
        ax.grid(color=GRID)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=SMALL)
    return figure

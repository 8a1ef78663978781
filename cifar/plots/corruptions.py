"""Figure of a classifier's accuracy under corruptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from cifar.plots.style import ORANGE, SKY, TEXT, new_figure

COLORS = LinearSegmentedColormap.from_list("accuracy", [ORANGE, "white", SKY])


def corruption_table(accuracy: Mapping[str, Sequence[float]], severities: Sequence[int]) -> Figure:
    """The accuracy of each kind (rows) at each severity (columns), with the means of both, the worst kind last."""
    kinds = sorted(accuracy, key=lambda kind: -np.mean(accuracy[kind]))
    values = np.array([accuracy[kind] for kind in kinds])
    values = np.vstack([values, values.mean(axis=0)])
    values = np.hstack([values, values.mean(axis=1, keepdims=True)])
    title = f"Accuracy {values[-1, -1]:.3f} under corruption"
    title += f"; best: {_name(kinds[0])} {values[0, -1]:.3f}, worst: {_name(kinds[-1])} {values[-2, -1]:.3f}"
    figure, axes = new_figure(title, 1.2 + 0.28 * len(values))
    ax = axes[0, 0]
    ax.imshow(values, cmap=COLORS, vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        is_mean = row == len(values) - 1 or column == values.shape[1] - 1
        ax.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=TEXT,
                fontweight="bold" if is_mean else "normal")  # fmt: skip
    ax.axhline(len(kinds) - 0.5, color="white", linewidth=4)
    ax.axvline(len(severities) - 0.5, color="white", linewidth=4)
    ax.set_xticks(range(values.shape[1]), [*map(str, severities), "mean"], fontsize=TEXT)
    ax.set_yticks(range(len(values)), [*map(_name, kinds), "mean"], fontsize=TEXT)
    ax.set_xlabel("severity", fontsize=TEXT)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure


def _name(kind: str) -> str:
    return kind.replace("_", " ").replace("jpeg", "JPEG").replace("gaussian", "Gaussian")

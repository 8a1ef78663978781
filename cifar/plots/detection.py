"""Figures of detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from cifar.plots.images import draw_image
from cifar.plots.style import GRAY, GRID, SMALL, TEXT, WIDTH, best_and_worst, new_figure, short, style_of

CURVES = 10  # maximum number of named curves
GAP = 0.35  # inches between images, on average


def precision_recall(precision: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Precision-recall curve of each class, the mean in front; `precision` is (recalls, k), -1 without objects.

    The recalls go evenly from 0 to 1. Of more than 10 classes, the best five and the worst five have names.
    """
    recall = np.linspace(0, 1, len(precision))
    known = np.flatnonzero((precision >= 0).all(axis=0))
    ranked = known[np.argsort(-precision[:, known].mean(axis=0), kind="stable")]
    mean = precision[:, known].mean(axis=1) if len(known) else np.zeros(len(recall))
    ends = best_and_worst([class_names[k] for k in ranked], precision[:, ranked].mean(axis=0))
    title = f"Mean average precision {mean.mean():.3f} at IoU 0.5{ends}"
    figure, axes = new_figure(title, 6)
    ax = axes[0, 0]
    named = ranked if len(ranked) <= CURVES else np.concatenate([ranked[: CURVES // 2], ranked[-(CURVES // 2) :]])
    for k in ranked:
        place = np.flatnonzero(named == k)
        style = style_of(place[0]) if len(place) else {"color": GRID}
        label = f"{short(class_names[k], 18)}  {precision[:, k].mean():.3f}" if len(place) else None
        ax.plot(recall, precision[:, k], linewidth=1.2, label=label, zorder=2 + bool(len(place)), **style)
    label = f"mean of {len(known)} classes  {mean.mean():.3f}"
    ax.plot(recall, mean, color="black", linewidth=3, label=label, zorder=4)
    ax.set(xlim=(0, 1), ylim=(0, 1.02))
    ax.set_xlabel("recall: share of objects detected", fontsize=TEXT)
    ax.set_ylabel("precision: share of correct detections", fontsize=TEXT)
    ax.grid(color=GRID)
    figure.legend(
        *_mean_first(ax),
        loc="outside lower left",
        ncols=3,
        frameon=False,
        fontsize=SMALL,
        title="average precision",
        title_fontsize=SMALL,
    )
    return figure


def _mean_first(ax):
    handles, labels = ax.get_legend_handles_labels()
    return [handles[-1], *handles[:-1]], [labels[-1], *labels[:-1]]


def found_and_true(rows: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray, str]]], title: str) -> Figure:
    """Pairs of images, objects above detections: a row of pairs per key, each pair with a caption of two lines.

    Images are uint8 (height, width, 1 or 3), of any size each.
    """
    columns = max(map(len, rows.values()))
    first = next(pair[0] for pairs in rows.values() for pair in pairs)
    cell = WIDTH / columns * first.shape[0] / first.shape[1]
    figure, axes = new_figure(title, 0.4 + 2 * len(rows) * (cell + GAP), 2 * len(rows), columns)
    for ax in axes.flat:
        ax.axis("off")
    for number, (name, pairs) in enumerate(rows.items()):
        for column, (true, predicted, caption) in enumerate(pairs):
            above, below = axes[2 * number : 2 * number + 2, column]
            for ax, image in ((above, true), (below, predicted)):
                draw_image(ax, image)
            above.set_title(f"{name}: objects" if column == 0 else "objects", fontsize=SMALL, color=GRAY, loc="left")
            lines = [short(line, 26) for line in f"detections, {caption}".splitlines()]
            below.set_title("\n".join(lines), fontsize=SMALL, loc="left")
    return figure

"""Comparison of settings."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cifar.plots.style import COLORS, GRAY, GRID, SMALL, TEXT, cut_outliers, new_figure, short, style_of

CLASSES = 40  # that a figure has room for

History = Mapping[str, Sequence[float]]


def overlaid_curves(settings: Mapping[str, Sequence[History]]) -> Figure:
    """A panel per validation metric, with a line per setting (training dotted), the first setting in front.

    `settings` maps a label to the histories of its runs, as `learning_curves` takes them. Of several runs, the thick
    line is their mean, as far as all of them go.
    """
    histories = [run for runs in settings.values() for run in runs]
    names = {key.removeprefix("val/") for run in histories for key in run if key.startswith("val/")}
    panels = sorted(names, key=lambda name: ({"loss": 0, "accuracy": 1}.get(name, 2), name))
    rows, columns = max(1, math.ceil(len(panels) / 2)), 2 if len(panels) > 1 else 1
    figure, axes = new_figure("Validation, and training (dotted)", 0.9 + 3.2 * rows, rows, columns)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, name in zip(axes.flat, panels, strict=False):
        for place, runs in enumerate(settings.values()):
            _curves(ax, [run.get(f"train/{name}", ()) for run in runs], place, training=True)
            _curves(ax, [run.get(f"val/{name}", ()) for run in runs], place, training=False)
        values = [value for run in histories for split in ("train", "val") for value in run.get(f"{split}/{name}", ())]
        outliers = cut_outliers(ax, values)
        ax.set_title(f"{name} ({outliers})" if outliers else name, fontsize=SMALL if outliers else TEXT, loc="left")
        ax.set_xlabel("epoch", fontsize=TEXT)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        ax.grid(color=GRID)
    handles = [
        Line2D([], [], linewidth=2.2, label=short(label, 60), **style_of(place)) for place, label in enumerate(settings)
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=_columns(settings), frameon=False, fontsize=SMALL)
    return figure


def _curves(ax: Axes, runs: Sequence[Sequence[float]], place: int, training: bool) -> None:
    common = min(map(len, runs))
    mean = np.mean([run[:common] for run in runs], axis=0)
    color, front = style_of(place)["color"], 3 - place / 1000
    if training:
        ax.plot(range(1, common + 1), mean, color=color, linestyle=":", linewidth=1.2, alpha=0.7, zorder=front - 1)
        return
    if len(runs) > 1:
        for run in runs:
            ax.plot(range(1, len(run) + 1), run, color=color, linewidth=0.8, alpha=0.35, zorder=front - 1)
    ax.plot(
        range(1, common + 1),
        mean,
        **style_of(place),
        linewidth=2.2,
        zorder=front,
        marker="o" if common <= 3 else None,
    )


def class_accuracies(accuracy: np.ndarray, class_names: Sequence[str], labels: Sequence[str]) -> Figure:
    """The accuracy of each setting on the images of each class, as dots; the class with the best mean first.

    `accuracy` is (settings, classes), 0 to 1; `labels` are those of the settings. Of more than 40 classes, those show
    on which the settings differ most.
    """
    spread = np.ptp(accuracy, axis=0)
    shown = np.argsort(-spread, kind="stable")[:CLASSES]
    shown = shown[np.argsort(-accuracy[:, shown].mean(axis=0), kind="stable")]
    most = int(spread.argmax())
    low, high = accuracy[:, most].min(), accuracy[:, most].max()
    title = f"Most different on {short(class_names[most])}: {low:.3f} to {high:.3f}" if high > low else "No difference"
    if len(shown) < len(class_names):
        title += f" (shown: the {CLASSES} most different of {len(class_names)} classes)"
    figure, axes = new_figure(title, 1.2 + 0.24 * len(shown))
    ax, y = axes[0, 0], np.arange(len(shown))
    ax.hlines(y, accuracy[:, shown].min(axis=0), accuracy[:, shown].max(axis=0), color=GRAY, linewidth=1, alpha=0.6)
    for place, label in enumerate(labels):
        ax.scatter(
            accuracy[place, shown],
            y,
            s=56,
            color=style_of(place)["color"],
            marker="osD^"[place // len(COLORS) % 4],
            label=short(label, 60),
            zorder=3 - place / 1000,
        )
    ax.set_yticks(y, [short(class_names[k], 30) for k in shown])
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.grid(color=GRID)
    ax.set_xlabel("accuracy on the class's images", fontsize=TEXT)
    figure.legend(loc="outside lower left", ncols=_columns(labels), frameon=False, fontsize=SMALL)
    return figure


def png(figure: Figure, software: str) -> bytes:
    """Render a figure as PNG, with `software` as its `Software` text."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": software})
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """Render a figure as SVG with text as outlines; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "cifar", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _columns(labels: Collection[str]) -> int:
    """Columns of a legend below a figure that have room for its labels."""
    return max(1, min(3, len(labels), 100 // max(4, *map(len, labels), 0)))

"""Figures of an evaluation: confusion matrix, scores of classes, reliability diagram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar.metrics.calibration import calibration_bins, expected_calibration_error
from cifar.plots.style import BLUE, GRAY, GRID, ORANGE, SKY, SMALL, TEXT, TITLE, best_and_worst, new_figure, short

ANNOTATED = 15  # maximum number of classes with numbers in the cells of a confusion matrix


def confusion_matrix(matrix: np.ndarray, class_names: Sequence[str], counted: str = "images") -> Figure:
    """Confusion matrix as counts of `counted` things and as percent of the true class.

    `matrix` is (k, k) int, rows true, columns predicted. Right answers (blue) and mistakes (orange) have a color scale
    each, so that the diagonal does not drown the mistakes.
    """
    counts = np.asarray(matrix)
    names = [short(name) for name in class_names]
    diagonal = np.eye(len(counts), dtype=bool)
    mistakes = np.where(diagonal, 0, counts)
    title = f"{100 * np.trace(counts) / max(1, counts.sum()):.1f} % correct"
    if mistakes.any():
        true, predicted = np.unravel_index(mistakes.argmax(), mistakes.shape)
        title += f"; most frequent mistake: {names[true]} predicted as {names[predicted]}, {mistakes.max():,} times"
    height = 6.75 + 0.055 * max(map(len, names)) + (0 if len(counts) <= ANNOTATED else 1)
    figure, axes = new_figure(title, height, 1, 2, "compressed")
    rates = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    _heatmap(axes[0, 0], counts, diagonal, names, counted)
    _heatmap(axes[0, 1], rates, diagonal, names, "percent of the true class")
    axes[0, 0].set_ylabel("true class", fontsize=TEXT)
    axes[0, 1].set_yticks([])
    return figure


def _heatmap(ax: Axes, values: np.ndarray, diagonal: np.ndarray, names: Sequence[str], title: str) -> None:
    annotated = len(values) <= ANNOTATED
    texts = np.array([[_count(value) for value in row] for row in values])
    for color, mask in ((SKY, ~diagonal), (ORANGE, diagonal)):
        sns.heatmap(
            values,
            mask=mask,
            cmap=sns.light_palette(color, as_cmap=True),
            vmin=0,
            vmax=max(1, values[~mask].max(initial=0)),
            square=True,
            ax=ax,
            xticklabels=False,
            yticklabels=False,
            annot=texts if annotated else None,
            fmt="",
            linewidths=1 if annotated else 0,
            annot_kws={"color": "black", "fontsize": SMALL if len(values) > 5 else TITLE},
            cbar=not annotated and color == ORANGE,
            cbar_kws={"location": "bottom", "shrink": 0.6, "aspect": 40, "label": f"mistakes, {title}"},
        )
    ticks = np.arange(0, len(values), math.ceil(len(values) / 25))
    crowded = len(ticks) * max(map(len, names)) > 60  # characters in a line below the panel
    ax.set_xticks(ticks + 0.5, [names[int(tick)] for tick in ticks], rotation=90 if crowded else 0)
    ax.set_yticks(ticks + 0.5, [names[int(tick)] for tick in ticks], rotation=0)
    ax.set_title(title, fontsize=TEXT)
    ax.set_xlabel("predicted class", fontsize=TEXT)


def _count(value: float) -> str:
    """Format a count to fit a cell: empty for 0, 12345, 123k, 12M."""
    rounded = int(value + 0.5)
    if rounded < 100_000:
        return str(rounded or "")
    return f"{rounded / 1e3:.0f}k" if rounded < 999_500 else f"{rounded / 1e6:.3g}M"


def per_class_bars(
    report: Mapping[str, Any],
    class_names: Sequence[str],
    score: str = "f1-score",
    label: str = "F1",
    counted: str = "images",
) -> Figure:
    """The `score` of each class as a bar with its precision and recall, best first, with the macro average.

    `report` maps each class name to `precision`, `recall`, the score (0 to 1) and `support`, of what is `counted`, as
    does scikit-learn's `classification_report(output_dict=True)`. Of more than 40 classes, the 20 best and 20 worst
    show.
    """
    ranked = sorted(class_names, key=lambda name: -report[name][score])
    macro = float(np.mean([report[name][score] for name in ranked]))
    cut = len(ranked) > 40
    shown = ranked[:20] + ranked[-20:] if cut else ranked
    title = f"Macro {label} {macro:.3f}{best_and_worst(ranked, [report[name][score] for name in ranked])}"
    title += f" (the 20 best and 20 worst of {len(ranked)} classes)" if cut else ""
    figure, axes = new_figure(title, 1.8 + 0.32 * len(shown))
    ax = axes[0, 0]
    y = np.array([rank + (cut and rank >= 20) for rank in range(len(shown))])
    f1, precision, recall, support = (
        [report[name][key] for name in shown] for key in (score, "precision", "recall", "support")
    )
    ax.barh(y, f1, color=SKY, alpha=0.5, label=label)
    ax.scatter(precision, y, color=BLUE, marker="D", s=30, label="precision", zorder=3)
    ax.scatter(recall, y, color=ORANGE, marker="o", s=36, label="recall", zorder=3)
    ax.axvline(macro, color=GRAY, linestyle="--", linewidth=1.2, label=f"macro average of {label}")
    for row, value, images in zip(y, f1, support, strict=True):
        ax.text(1.02, row, f"{value:.3f}", va="center", fontsize=SMALL, fontweight="bold")
        ax.text(1.09, row, f"{images:,.0f} {counted}", va="center", fontsize=SMALL, color=GRAY)
    if cut:
        ax.text(0.01, 20, f"⋮  {len(ranked) - 40} more between", va="center", fontsize=SMALL, color=GRAY)
    ax.set_yticks(y, [short(name, 24) for name in shown])
    ax.set_ylim(y[-1] + 0.6, -0.6)
    ax.set_xlim(0, 1.18)
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.spines["bottom"].set_bounds(0, 1)
    ax.grid(axis="x", color=GRID)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=SMALL)
    return figure


def reliability_diagram(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Figure:
    """Accuracy by confidence in each bin, and the number of images in each bin.

    Shapes as in `calibration_bins`. The title states the expected calibration error.
    """
    error = expected_calibration_error(confidence, correct, bins)
    title = (
        f"Expected calibration error {100 * error:.1f} %: mean confidence "
        f"{100 * np.mean(confidence):.1f} %, accuracy {100 * np.mean(correct):.1f} %"
    )
    figure, axes = _reliability_axes(title, 1)
    _reliability(axes[:, 0], confidence, correct, bins)
    axes[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=TEXT)
    axes[1, 0].legend(frameon=False, fontsize=TEXT)
    return figure


def reliability_change(
    before: np.ndarray, after: np.ndarray, correct: np.ndarray, temperature: float, bins: int = 15
) -> Figure:
    """The panels of `reliability_diagram` before and after temperature scaling, side by side.

    `before` and `after` are confidences (n,), `correct` (n,) bool.
    """
    errors = [expected_calibration_error(confidence, correct, bins) for confidence in (before, after)]
    title = f"Temperature {temperature:.3f}: expected calibration error {100 * errors[0]:.1f} %, "
    figure, axes = _reliability_axes(f"{title}calibrated {100 * errors[1]:.1f} %", 2)
    for column, (name, confidence) in enumerate((("before", before), ("calibrated", after))):
        _reliability(axes[:, column], confidence, correct, bins)
        shown = f"{name}: mean confidence {100 * np.mean(confidence):.1f} %, accuracy {100 * np.mean(correct):.1f} %"
        axes[0, column].set_title(shown, fontsize=TEXT)
    handles, labels = ([one for ax in axes[:, 0] for one in ax.get_legend_handles_labels()[part]] for part in (0, 1))
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=TEXT)
    return figure


def _reliability_axes(title: str, columns: int) -> tuple[Figure, np.ndarray]:
    return new_figure(title, 8.5, 2, columns, sharex=True, sharey="row", height_ratios=[3, 1])


def _reliability(axes: np.ndarray, confidence: np.ndarray, correct: np.ndarray, bins: int) -> None:
    """Draw accuracy by confidence on the upper of two axes, the numbers of images on the lower."""
    count, accuracy, mean = calibration_bins(confidence, correct, bins)
    upper, lower = axes
    centers, width = (np.arange(bins) + 0.5) / bins, 1 / bins
    upper.bar(centers, accuracy, width, color=SKY, edgecolor="white", label="accuracy")
    upper.bar(
        centers,
        mean - accuracy,
        width,
        accuracy,
        color="none",
        hatch="//",
        edgecolor=ORANGE,
        label="gap to the mean confidence",
    )
    upper.plot([0, 1], [0, 1], color=GRAY, linestyle="--", label="perfect calibration")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    upper.set_ylabel("accuracy", fontsize=TEXT)
    lower.bar(centers, 100 * count / count.sum(), width, color=GRAY, alpha=0.6, edgecolor="white")
    lower.axvline(np.mean(confidence), color=ORANGE, linewidth=2, label="mean confidence")
    lower.axvline(np.mean(correct), color=BLUE, linewidth=2, label="mean accuracy")
    lower.set_ylabel("percent of images", fontsize=TEXT)
    lower.set_xlabel("confidence: probability of the predicted class", fontsize=TEXT)

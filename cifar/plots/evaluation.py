"""Figures of an evaluation: confusion matrix, scores of classes, reliability diagram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from cifar.metrics.calibration import calibration_bins, expected_calibration_error
from cifar.metrics.confusion import Confused, confused_pairs
from cifar.plots.style import BLUE, GRAY, GRID, ORANGE, SKY, SMALL, TEXT, best_and_worst, new_figure, short

ANNOTATED = 15  # maximum number of classes with numbers in the cells of a confusion matrix
LISTED = 20  # maximum number of mistakes in the list of a confusion matrix
LABEL_HEIGHT = 0.15  # inches
FEW = 10
"""Images of a bin below which its bar in a reliability diagram is pale."""


def confusion_matrix(matrix: np.ndarray, class_names: Sequence[str], counted: str = "images") -> Figure:
    """Confusion matrix with counts of `counted` things, and with percent of the true class, which is the color.

    `matrix` is (k, k) int, rows true, columns predicted. Right answers (blue) and mistakes (orange) have a color scale
    each, so that the diagonal does not drown the mistakes. Of more than 15 classes, the cells have no numbers, and the
    most frequent mistakes are listed.
    """
    counts = np.asarray(matrix)
    names = [short(name, 24) for name in class_names]
    pairs = confused_pairs(counts, LISTED)
    title = f"{100 * np.trace(counts) / max(1, counts.sum()):.1f} % correct"
    title += _most_frequent(counts, pairs, names)
    if len(counts) <= ANNOTATED:
        side = 2.5 + 0.3 * len(counts)
        figure, axes = new_figure(title, side + 0.08 * max(map(len, names)), layout="compressed")
        _heatmap(axes[0, 0], counts, names, side)
        axes[0, 0].set_xlabel(f"predicted class ({counted}, and percent of the true class)", fontsize=TEXT)
        return figure
    listed = 0.6 + 0.2 * len(pairs)
    figure, axes = new_figure(title, 8.4 + listed, 2, 1, height_ratios=[8.4, listed])
    rates = _heatmap(axes[0, 0], counts, names, 5.6)
    _mistakes_scale(figure, axes[0, 0], rates)
    axes[0, 0].set_xlabel("predicted class", fontsize=TEXT)
    _list_pairs(axes[1, 0], pairs, [short(name, 32) for name in class_names], counted)
    return figure


def _most_frequent(counts: np.ndarray, pairs: Sequence[Confused], names: Sequence[str]) -> str:
    """The end of a title with the most frequent mistake; several that are equally frequent are counted."""
    if not pairs:
        return ""
    equal = int((counts == pairs[0].images).sum() - (np.diag(counts) == pairs[0].images).sum())
    times = "once" if pairs[0].images == 1 else f"{pairs[0].images:,} times"
    if equal > 1:
        return f"; the most frequent mistakes are {equal} pairs of classes, {times} each"
    return f"; most frequent mistake: {names[pairs[0].label]} predicted as {names[pairs[0].predicted]}, {times}"


def _heatmap(ax: Axes, counts: np.ndarray, names: Sequence[str], side: float) -> np.ndarray:
    """Draw a confusion matrix `side` inches high, with its classes; return percent of the true class."""
    import seaborn as sns  # takes half a second, which a process without pictures need not wait for

    rates = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(counts), dtype=bool)
    cells: Any = False
    if len(counts) <= ANNOTATED:
        cells = [[f"{_count(count)}\n{rate:.0f} %" if count else "" for count, rate in zip(*row, strict=True)]
                 for row in zip(counts.tolist(), rates.tolist(), strict=True)]  # fmt: skip
    for other, color, greatest in (
        (~diagonal, SKY, rates[diagonal].max(initial=0) or 1),
        (diagonal, ORANGE, _greatest_mistake(rates)),
    ):
        sns.heatmap(
            rates,
            mask=other,
            vmin=0,
            vmax=greatest,
            cmap=sns.blend_palette(["white", color], as_cmap=True),
            annot=cells,
            fmt="",
            annot_kws={"fontsize": SMALL, "color": "black"},
            cbar=False,
            square=True,
            ax=ax,
        )
    step = math.ceil(len(counts) * LABEL_HEIGHT / side)
    ticks, shown = np.arange(0, len(counts), step), names[::step]
    crowded = max(map(len, shown)) * 0.08 * len(shown) > side
    ax.set_xticks(ticks + 0.5, shown, rotation=90 if crowded else 0)
    ax.set_yticks(ticks + 0.5, shown, rotation=0)
    ax.set_ylabel("true class", fontsize=TEXT)
    return rates


def _greatest_mistake(rates: np.ndarray) -> float:
    return float(np.where(np.eye(len(rates), dtype=bool), 0, rates).max()) or 1.0


def _mistakes_scale(figure: Figure, ax: Axes, rates: np.ndarray) -> None:
    colors = LinearSegmentedColormap.from_list("mistakes", ["white", ORANGE])
    scale = ScalarMappable(Normalize(0, _greatest_mistake(rates)), colors)
    bar = figure.colorbar(scale, ax=ax, location="bottom", shrink=0.6, aspect=40)
    bar.set_label("mistakes, percent of the true class", fontsize=TEXT)
    bar.ax.tick_params(labelsize=SMALL)


def _list_pairs(ax: Axes, pairs: Sequence[Confused], names: Sequence[str], counted: str) -> None:
    """Draw the most frequent mistakes as bars with their names, the most frequent on top."""
    ax.barh(range(len(pairs)), [pair.images for pair in pairs], color=ORANGE, alpha=0.35, height=0.8)
    for row, pair in enumerate(pairs):
        text = f"{names[pair.label]} → {names[pair.predicted]}:  {pair.images:,}, {100 * pair.share:.0f} %"
        ax.text(0, row, f" {text}", va="center", fontsize=SMALL)
    ax.set_yticks([])
    ax.set_ylim(max(len(pairs), 1) - 0.4, -0.6)
    ax.set_xlabel(counted, fontsize=TEXT)
    ax.set_title("Most frequent mistakes: true → predicted", fontsize=TEXT, loc="left")


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
    figure, axes = new_figure(title, 1.1 + 0.24 * len(shown))
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
        ax.text(1.15, row, f"{images:,.0f} {counted}", va="center", fontsize=SMALL, color=GRAY)
    if cut:
        ax.text(0.01, 20, f"⋮  {len(ranked) - 40} more between", va="center", fontsize=SMALL, color=GRAY)
    ax.set_yticks(y, [short(name, 28) for name in shown])
    ax.set_ylim(y[-1] + 0.6, -0.6)
    ax.set_xlim(0, 1.36)
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
    axes[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=SMALL)
    axes[1, 0].legend(frameon=False, fontsize=SMALL)
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
        shown = f"{name}: confidence {100 * np.mean(confidence):.1f} %, accuracy {100 * np.mean(correct):.1f} %"
        axes[0, column].set_title(shown, fontsize=SMALL)
    handles, labels = ([one for ax in axes[:, 0] for one in ax.get_legend_handles_labels()[part]] for part in (0, 1))
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL)
    return figure


def _reliability_axes(title: str, columns: int) -> tuple[Figure, np.ndarray]:
    return new_figure(title, 6, 2, columns, sharex=True, sharey="row", height_ratios=[3, 1])


def _reliability(axes: np.ndarray, confidence: np.ndarray, correct: np.ndarray, bins: int) -> None:
    """Draw accuracy by confidence on the upper of two axes, the numbers of images on the lower."""
    count, accuracy, mean = calibration_bins(confidence, correct, bins)
    upper, lower = axes
    centers, width = (np.arange(bins) + 0.5) / bins, 1 / bins
    upper.bar(centers, 0, width, color=SKY, label=f"accuracy (pale: of fewer than {FEW} images)")
    upper.bar(centers, 0, width, color="none", hatch="//", edgecolor=ORANGE, label="gap to the mean confidence")
    for bin_center, right, confident, images in zip(centers, accuracy, mean, count, strict=True):
        weight = 1 if images >= FEW else 0.3
        upper.bar(bin_center, right, width, color=SKY, edgecolor="white", alpha=weight)
        upper.bar(bin_center, confident - right, width, right, color="none", hatch="//", edgecolor=ORANGE, alpha=weight)
    upper.plot([0, 1], [0, 1], color=GRAY, linestyle="--", label="perfect calibration")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    upper.set_ylabel("accuracy", fontsize=TEXT)
    lower.bar(centers, 100 * count / count.sum(), width, color=GRAY, alpha=0.6, edgecolor="white")
    lower.axvline(np.mean(confidence), color=ORANGE, linewidth=2, label="mean confidence")
    lower.axvline(np.mean(correct), color=BLUE, linewidth=2, label="mean accuracy")
    lower.set_ylabel("percent of images", fontsize=TEXT)
    lower.set_xlabel("confidence: probability of the predicted class", fontsize=TEXT)

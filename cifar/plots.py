"""Pictures of a run: arrays in, `matplotlib.figure.Figure` out.

Figures are built without pyplot, so nothing is shown, nothing global is changed, and a figure goes with its last
reference. Their title says what the picture shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from cifar.calibration import calibration_bins, expected_calibration_error

WIDTH = 12  # inches
DPI = 120  # 1440 pixels wide: sharp in MLflow's viewer, which shows about 1000
TITLE, TEXT, SMALL = 15, 11, 9.5  # points
ANNOTATED = 15  # classes up to which the cells of a confusion matrix have room for numbers

# Okabe and Ito's colours, which the colour-blind tell apart (https://jfly.uni-koeln.de/color). Black text is legible on
# SKY and ORANGE.
BLUE, SKY, ORANGE, GREEN = "#0072B2", "#56B4E9", "#D55E00", "#009E73"
GREY, GRID = "#666666", "#E5E5E5"


def _figure(title: str, height: float, rows: int = 1, columns: int = 1, layout: str = "constrained",
            **grid: Any) -> tuple[Figure, np.ndarray]:
    """A figure `height` inches high and its axes (rows, columns), in the style that all pictures share."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    figure.suptitle(title, x=0.01, ha="left", fontsize=TITLE, fontweight="bold")
    axes = figure.subplots(rows, columns, squeeze=False, **grid)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GREY)
        ax.tick_params(labelsize=SMALL, color=GREY)
        ax.set_axisbelow(True)
    return figure, axes


def _name(name: str, width: int = 16) -> str:
    """A class name cut in its middle to `width` characters, with dollar signs shown rather than read as mathematics."""
    half = (width - 1) // 2
    return (name if len(name) <= width else f"{name[:half]}…{name[-half:]}").replace("$", r"\$")


def confusion_matrix(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """How often each class is taken for each: counts, and percent of the true class.

    `matrix` is (k, k) int, rows true, columns predicted. Right answers (blue) and mistakes (orange) have a colour scale
    each, so that the diagonal does not drown the mistakes.
    """
    counts = np.asarray(matrix)
    names = [_name(name) for name in class_names]
    diagonal = np.eye(len(counts), dtype=bool)
    mistakes = np.where(diagonal, 0, counts)
    title = f"{100 * np.trace(counts) / max(1, counts.sum()):.1f} % correct"
    if mistakes.any():
        true, predicted = np.unravel_index(mistakes.argmax(), mistakes.shape)
        title += f"; most frequent mistake: {names[true]} taken for {names[predicted]}, {mistakes.max()} times"
    height = 6.75 + 0.055 * max(map(len, names)) + (0 if len(counts) <= ANNOTATED else 1)
    figure, axes = _figure(title, height, 1, 2, "compressed")
    rates = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    _heatmap(axes[0, 0], counts, diagonal, names, "images")
    _heatmap(axes[0, 1], rates, diagonal, names, "percent of the true class")
    axes[0, 0].set_ylabel("true class", fontsize=TEXT)
    axes[0, 1].set_yticks([])
    return figure


def _heatmap(ax: Axes, values: np.ndarray, diagonal: np.ndarray, names: Sequence[str], title: str) -> None:
    annotated = len(values) <= ANNOTATED
    texts = np.array([[str(int(value + 0.5) or "") for value in row] for row in values])
    for colour, mask in ((SKY, ~diagonal), (ORANGE, diagonal)):
        sns.heatmap(values, mask=mask, cmap=sns.light_palette(colour, as_cmap=True), vmin=0,
                    vmax=max(1, values[~mask].max(initial=0)), square=True, ax=ax, xticklabels=False, yticklabels=False,
                    annot=texts if annotated else None, fmt="", linewidths=1 if annotated else 0,
                    annot_kws={"color": "black", "fontsize": SMALL if len(values) > 5 else TITLE},
                    cbar=not annotated and colour == ORANGE,
                    cbar_kws={"location": "bottom", "shrink": 0.6, "aspect": 40, "label": f"mistakes, {title}"})
    ticks = np.arange(0, len(values), math.ceil(len(values) / 25))
    crowded = len(ticks) * max(map(len, names)) > 60  # characters in a line below the panel
    ax.set_xticks(ticks + 0.5, [names[tick] for tick in ticks], rotation=90 if crowded else 0)
    ax.set_yticks(ticks + 0.5, [names[tick] for tick in ticks], rotation=0)
    ax.set_title(title, fontsize=TEXT)
    ax.set_xlabel("predicted class", fontsize=TEXT)


def learning_curves(history: Mapping[str, Sequence[float]], best_epoch: int | None = None) -> Figure:
    """A panel for each metric in training and validation, loss and accuracy first, and one for the learning rate.

    `history` maps `train/NAME`, `val/NAME` and `lr` to one value an epoch; other keys are left out, a NaN is a gap.
    `best_epoch` counts from 1; each panel marks it and tells the value there, of validation where there is one.
    """
    names = {key.partition("/")[2]: None for key in history if key.startswith(("train/", "val/"))}
    panels = {name: {split: history[f"{split}/{name}"] for split in ("train", "val") if f"{split}/{name}" in history}
              for name in sorted(names, key=lambda name: {"loss": 0, "accuracy": 1}.get(name, 2))}
    if "lr" in history:
        panels["learning rate"] = {"lr": history["lr"]}
    epochs = max([1, *map(len, history.values())])
    columns = 2 if len(panels) in (2, 4) else min(3, max(1, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    title = f"Best epoch: {best_epoch} of {epochs}" if best_epoch else f"Learning curves, epochs: {epochs}"
    figure, axes = _figure(title, 4.2 * rows, rows, columns)
    for ax in axes.flat[len(panels):]:
        ax.remove()
    for ax, (name, series) in zip(axes.flat, panels.items(), strict=False):
        _curves(ax, name, series, best_epoch)
        ax.set_xlim(0.5, epochs + max(0.5, 0.02 * epochs))
    return figure


def _curves(ax: Axes, name: str, series: Mapping[str, Sequence[float]], best_epoch: int | None) -> None:
    for label, values in series.items():
        ax.plot(range(1, len(values) + 1), values, color={"train": GREY, "val": BLUE, "lr": GREEN}[label], label=label,
                linewidth=1.8, marker="o" if len(values) <= 30 else None, markersize=4)
    title = name
    if best_epoch:
        ax.axvline(best_epoch, color=ORANGE, linestyle=":", linewidth=1.5, label="best epoch")
        at_best = {label: values[best_epoch - 1] for label, values in series.items() if best_epoch <= len(values)}
        for label, value in at_best.items():
            if math.isfinite(value):
                title = f"{name}: {'' if label == 'lr' else f'{label} '}{value:.4g} at the best epoch"
                ax.plot(best_epoch, value, "o", color="none", markeredgecolor=ORANGE, markeredgewidth=2, markersize=9)
    if "lr" in series:
        positive = [value for value in series["lr"] if value > 0]
        if positive and max(positive) > 10 * min(positive):
            ax.set_yscale("log", nonpositive="mask")
            ax.set_ylim(bottom=max(min(positive), 1e-5 * max(positive)) / 1.5)
            ax.yaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        ax.legend(frameon=False, fontsize=SMALL)
    ax.set_title(title, fontsize=TEXT, loc="left")
    ax.set_xlabel("epoch", fontsize=TEXT)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    ax.grid(color=GRID)


def per_class_bars(report: Mapping[str, Any], class_names: Sequence[str]) -> Figure:
    """F1 of each class as a bar with its precision and recall, best first, beside the macro average.

    `report` maps each class name to `precision`, `recall`, `f1-score` (0 to 1) and `support` (images), as does
    scikit-learn's `classification_report(output_dict=True)`. Of more than 40 classes, the 20 best and 20 worst show.
    """
    ranked = sorted(class_names, key=lambda name: -report[name]["f1-score"])
    macro = float(np.mean([report[name]["f1-score"] for name in ranked]))
    cut = len(ranked) > 40
    shown = ranked[:20] + ranked[-20:] if cut else ranked
    title = f"Macro F1 {macro:.3f}; best: {_name(ranked[0])}, worst: {_name(ranked[-1])}"
    title += f" (the 20 best and 20 worst of {len(ranked)} classes)" if cut else ""
    figure, axes = _figure(title, 1.8 + 0.32 * len(shown))
    ax = axes[0, 0]
    y = np.array([rank + (cut and rank >= 20) for rank in range(len(shown))])
    f1, precision, recall, support = ([report[name][key] for name in shown]
                                      for key in ("f1-score", "precision", "recall", "support"))
    ax.barh(y, f1, color=SKY, alpha=0.5, label="F1")
    ax.scatter(precision, y, color=BLUE, marker="D", s=30, label="precision", zorder=3)
    ax.scatter(recall, y, color=ORANGE, marker="o", s=36, label="recall", zorder=3)
    ax.axvline(macro, color=GREY, linestyle="--", linewidth=1.2, label="macro average of F1")
    for row, value, images in zip(y, f1, support, strict=True):
        ax.text(1.02, row, f"{value:.3f}", va="center", fontsize=SMALL, fontweight="bold")
        ax.text(1.09, row, f"{images:.0f} images", va="center", fontsize=SMALL, color=GREY)
    if cut:
        ax.text(0.01, 20, f"⋮  {len(ranked) - 40} more between", va="center", fontsize=SMALL, color=GREY)
    ax.set_yticks(y, [_name(name, 24) for name in shown])
    ax.set_ylim(y[-1] + 0.6, -0.6)
    ax.set_xlim(0, 1.18)
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.spines["bottom"].set_bounds(0, 1)
    ax.grid(axis="x", color=GRID)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=SMALL)
    return figure


def reliability_diagram(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Figure:
    """Accuracy against confidence in each bin, and how many images each bin has.

    Shapes as in `calibration_bins`. The title tells the expected calibration error.
    """
    count, accuracy, mean = calibration_bins(confidence, correct, bins)
    error = expected_calibration_error(confidence, correct, bins)
    figure, axes = _figure(f"Expected calibration error {100 * error:.1f} %: mean confidence "
                           f"{100 * np.mean(confidence):.1f} %, accuracy {100 * np.mean(correct):.1f} %",
                           8.5, 2, sharex=True, height_ratios=[3, 1])
    upper, lower = axes[:, 0]
    centres, width = (np.arange(bins) + 0.5) / bins, 1 / bins
    upper.bar(centres, accuracy, width, color=SKY, edgecolor="white", label="accuracy")
    upper.bar(centres, mean - accuracy, width, accuracy, color="none", hatch="//", edgecolor=ORANGE,
              label="gap to the mean confidence")
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfect calibration")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    upper.set_ylabel("accuracy", fontsize=TEXT)
    upper.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=TEXT)
    lower.bar(centres, 100 * count / count.sum(), width, color=GREY, alpha=0.6, edgecolor="white")
    lower.axvline(np.mean(confidence), color=ORANGE, linewidth=2, label="mean confidence")
    lower.axvline(np.mean(correct), color=BLUE, linewidth=2, label="accuracy")
    lower.set_ylabel("percent of images", fontsize=TEXT)
    lower.set_xlabel("confidence: probability of the predicted class", fontsize=TEXT)
    lower.legend(frameon=False, fontsize=TEXT)
    return figure


def confident_mistakes(images: np.ndarray, labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray,
                       class_names: Sequence[str], count: int = 25) -> Figure:
    """The `count` wrong predictions of highest confidence, each titled "true → predicted, confidence".

    `images` is uint8 (n, height, width, 1 or 3); `labels` and `predicted` are (n,) int class indices, `confidence` (n,)
    is the probability of the predicted class.
    """
    wrong = np.flatnonzero(np.asarray(labels) != np.asarray(predicted))
    worst = wrong[np.argsort(-np.asarray(confidence)[wrong], kind="stable")][:count]
    names = [_name(name, 13) for name in class_names]
    titles = [f"{names[labels[i]]} → {names[predicted[i]]}\n{100 * confidence[i]:.1f} %" for i in worst]
    title = f"The {len(worst)} most confident of {len(wrong)} mistakes in {len(labels)} images: true → predicted"
    if len(worst) == len(wrong):
        title = f"All {len(wrong)} mistakes in {len(labels)} images: true → predicted"
    return image_sheet(images[worst], titles, title if len(wrong) else f"No mistakes in {len(labels)} images")


def image_sheet(images: np.ndarray, titles: Sequence[str] | None = None, title: str = "", columns: int = 5) -> Figure:
    """Images in rows of `columns`, each under its title. `images` is uint8 (n, height, width, 1 or 3)."""
    _, height, width, _ = images.shape
    rows = max(1, math.ceil(len(images) / columns))
    cell = WIDTH / columns * height / width if len(images) else 0
    figure, axes = _figure(title, 0.6 + rows * (cell + 0.35), rows, columns)
    for ax in axes.flat:
        ax.axis("off")
    for i, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        _image(ax, image)
        if titles is not None:
            ax.set_title(titles[i], fontsize=SMALL)
    return figure


def augmented_sheet(originals: np.ndarray, augmented: np.ndarray) -> Figure:
    """What augmentation does: each row has an original on the left and its versions on the right.

    `originals` is uint8 (rows, height, width, 1 or 3), `augmented` uint8 (rows, versions, height, width, 1 or 3).
    """
    rows, versions, height, width, channels = augmented.shape
    left, right = _mosaic(originals[:, None]), _mosaic(augmented)
    gutter = np.full((len(left), width // 4, channels), 255, np.uint8)
    cell = min(WIDTH / (versions + 1.3), 1.8)
    figure, axes = _figure(f"Augmentation: {versions} versions of each image", 0.9 + rows * cell * height / width)
    ax = axes[0, 0]
    _image(ax, np.concatenate([left, gutter, right], axis=1))
    for column, text in ((0, "original"), (left.shape[1] + width // 4, "augmented")):
        ax.text(column - 0.5, -0.5 - height / 16, text, fontsize=TEXT)
    ax.set_anchor("NW")
    return figure


def _image(ax: Axes, image: np.ndarray) -> None:
    """Draws (height, width, 1 or 3); `auto` enlarges by nearest neighbours, so that small images show their pixels."""
    ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255, interpolation="auto")
    ax.axis("off")


def _mosaic(images: np.ndarray) -> np.ndarray:
    """Images (rows, columns, height, width, channels) as one with white gaps: one axes draws faster than many."""
    gap = max(1, images.shape[2] // 16)
    tiles = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    rows, columns, height, width, channels = tiles.shape
    return tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)

"""Learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from cifar.plots.style import BLUE, GRAY, GREEN, GRID, ORANGE, SMALL, TEXT, cut_outliers, new_figure


def learning_curves(history: Mapping[str, Sequence[float]], best_epoch: int | None = None) -> Figure:
    """A panel per metric with training and validation, loss and accuracy first, and one for the learning rate.

    `history` maps `train/NAME`, `val/NAME` and `lr` to one value an epoch; other keys are left out, a NaN is a gap.
    `best_epoch` counts from 1; each panel marks it and states the value there, of validation if available.
    """
    names = {key.partition("/")[2]: None for key in history if key.startswith(("train/", "val/"))}
    panels = {
        name: {split: history[f"{split}/{name}"] for split in ("train", "val") if f"{split}/{name}" in history}
        for name in sorted(names, key=lambda name: {"loss": 0, "accuracy": 1}.get(name, 2))
    }
    if "lr" in history:
        panels["learning rate"] = {"lr": history["lr"]}
    epochs = max([1, *map(len, history.values())])
    columns = min(2, max(1, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    title = f"Best epoch: {best_epoch} of {epochs}" if best_epoch else f"Learning curves, epochs: {epochs}"
    figure, axes = new_figure(title, 2.9 * rows, rows, columns)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, (name, series) in zip(axes.flat, panels.items(), strict=False):
        _curves(ax, name, series, best_epoch)
        ax.set_xlim(0.5, epochs + max(0.5, 0.02 * epochs))
    return figure


def lr_range(
    rates: Sequence[float], losses: Sequence[float], averages: Sequence[float], best: int, suggested: float
) -> Figure:
    """The loss of each step of a learning-rate range test over its rate, with the average up to it.

    `best` is the step, from 0, with the lowest average.
    """
    figure, axes = new_figure(
        f"Loss lowest at the learning rate {rates[best]:.2g}, suggested: {suggested:.2g}", height=3.6
    )
    ax = axes[0, 0]
    ax.plot(rates, losses, ".", color=GRAY, markersize=3, label="loss of a step")
    ax.plot(rates, averages, color=BLUE, linewidth=1.8, label="average up to the step")
    ax.axvline(rates[best], color=GREEN, linestyle="--", linewidth=1.5, label="lowest average")
    ax.axvline(suggested, color=ORANGE, linestyle=":", linewidth=2, label="suggested")
    ax.set_xscale("log")
    low, high = averages[best], max(averages[: best + 1])
    ax.set_ylim(max(0.0, low - 0.3 * (high - low)), high + 0.5 * (high - low) + 0.05 * low)
    ax.set_xlabel("learning rate", fontsize=TEXT)
    ax.set_ylabel("training loss", fontsize=TEXT)
    ax.legend(frameon=False, fontsize=SMALL)
    ax.grid(color=GRID)
    return figure


def _curves(ax: Axes, name: str, series: Mapping[str, Sequence[float]], best_epoch: int | None) -> None:
    for label, values in series.items():
        ax.plot(
            range(1, len(values) + 1),
            values,
            color={"train": GRAY, "val": BLUE, "lr": GREEN}[label],
            label=label,
            linewidth=1.8,
            marker="o" if len(values) <= 30 else None,
            markersize=4,
        )
    title = name
    outliers = "" if "lr" in series else cut_outliers(ax, [value for values in series.values() for value in values])
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
    ax.set_title(f"{title}\n{outliers}" if outliers else title, fontsize=TEXT, loc="left")
    ax.set_xlabel("epoch", fontsize=TEXT)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    ax.grid(color=GRID)

"""Figures of a sweep: settings and results of its runs.

`params` maps the name of each setting that differs to its value in each run, numbers or texts; `values` is the
objective of each run, in the same order. No argument may hold a NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cifar.plots.columns import Column, Scale, horizontal_axis, number_axis, vertical_axis
from cifar.plots.style import BLUE, GRAY, GREEN, GRID, ORANGE, SKY, SMALL, TEXT, new_figure, short

NAMED, FRONT = 5, 12
"""Maximum number of runs named in a legend."""


def parallel_coordinates(params: Mapping[str, Column], values: Sequence[float], metric: str, lower: bool) -> Figure:
    """Parallel coordinates: a line per run through its settings to its objective; better runs are darker."""
    axes_of = {**params, metric: values}
    figure, axes = new_figure(_best(params, values, metric, lower), 4.8)
    ax = axes[0, 0]
    ax.axis("off")
    heights = []
    for place, (name, column) in enumerate(axes_of.items()):
        scale = Scale(column)
        heights.append(scale.heights)
        ax.plot([place, place], [0, 1], color=GRAY, linewidth=1, zorder=2)
        for height, label in scale.ticks:
            side = 1 if name == metric else -1
            ax.plot([place, place + 0.012 * side], [height, height], color=GRAY, linewidth=1)
            ax.annotate(
                label,
                (place, height),
                (6 * side, 0),
                textcoords="offset points",
                zorder=5,
                fontsize=SMALL,
                ha="left" if side == 1 else "right",
                va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
            )
        ax.annotate(short(name, 28), (place, 1.06), ha="center", fontsize=TEXT, annotation_clip=False)
    order = _worst_first(values, lower)
    for rank, run in enumerate(order):
        best, shade = run == order[-1], (rank + 1) / len(order)
        ax.plot(
            range(len(heights)),
            [column[run] for column in heights],
            color=ORANGE if best else BLUE,
            alpha=1 if best else 0.1 + 0.5 * shade**2,
            linewidth=3 if best else 1.2,
            zorder=4 if best else 3,
        )
    ax.set_xlim(-0.3, len(heights) - 0.75)
    ax.set_ylim(-0.04, 1.1)
    return figure


def importance(shares: Mapping[str, float], metric: str, runs: int) -> Figure:
    """Share of the objective's variance explained by each setting (0 to 1), most important first."""
    ranked = sorted(shares.items(), key=lambda item: item[1])
    names, lengths = [short(name, 40) for name, _ in ranked], [100 * share for _, share in ranked]
    title = f"{names[-1]} has the greatest effect on {metric} (fANOVA of {runs} runs)"
    figure, axes = new_figure(title, 1 + 0.4 * len(names))
    ax = axes[0, 0]
    ax.barh(range(len(names)), lengths, color=SKY, height=0.6)
    for row, length in enumerate(lengths):
        ax.text(length + 0.6, row, f"{length:.0f} %", va="center", fontsize=TEXT)
    ax.set_yticks(range(len(names)), names, fontsize=TEXT)
    ax.set_xlim(0, max(1.0, 1.1 * lengths[-1]))
    ax.set_xlabel(f"percent of the variance of {metric}", fontsize=TEXT)
    ax.grid(axis="x", color=GRID)
    return figure


def slices(params: Mapping[str, Column], values: Sequence[float], metric: str, lower: bool) -> Figure:
    """A panel per setting: the objective by its values; later runs are darker, the best is marked."""
    columns = min(2, len(params))
    rows = math.ceil(len(params) / columns)
    figure, axes = new_figure(_best(params, values, metric, lower), 0.5 + 2.9 * rows, rows, columns, sharey=True)
    for ax in axes.flat[len(params) :]:
        ax.remove()
    best, age = _worst_first(values, lower)[-1], 0.25 + 0.75 * np.arange(1, len(values) + 1) / len(values)
    for number, (ax, (name, column)) in enumerate(zip(axes.flat, params.items(), strict=False)):
        places = horizontal_axis(ax, column)
        ax.scatter(places, values, s=42, color=BLUE, alpha=age, linewidths=0)
        ax.scatter(places[best], values[best], s=130, facecolors="none", edgecolors=ORANGE, linewidths=2.2)
        ax.set_xlabel(short(name, 40), fontsize=TEXT)
        if number % columns == 0:
            ax.set_ylabel(metric, fontsize=TEXT)
        ax.grid(color=GRID)
    vertical_axis(axes[0, 0], values)
    return figure


def optimization_history(values: Sequence[float | None], metric: str, lower: bool, ends: Sequence[str] = ()) -> Figure:
    """The objective of each run in the order of their ends, and the best so far; None for no result.

    `ends` say how each run ended. Those without a result are on a strip of their own below, a row for each kind of end.
    """
    finished = [(number, value) for number, value in enumerate(values, start=1) if value is not None]
    numbers, results = [number for number, _ in finished], np.array([value for _, value in finished])
    best = (np.minimum if lower else np.maximum).accumulate(results)
    reached = [number for number, value in finished if value == best[-1]]
    title = f"Best {metric}: {best[-1]:.4g}, in run {reached[0]} of {len(values)}"
    title += f" and {len(reached) - 1} more" if len(reached) > 1 else ""
    missing = [(number, end) for number, (value, end) in enumerate(zip(values, ends, strict=False), 1) if value is None]
    kinds = sorted({end for _, end in missing})
    strip = 0.25 + 0.25 * len(kinds)
    figure, axes = new_figure(title, 4 + strip, 2, 1, sharex=True, height_ratios=[4, strip])
    ax, below = axes[:, 0]
    ax.scatter(numbers, results, s=30, color=BLUE, label="run", zorder=3)
    ax.step([*numbers, len(values)], [*best, best[-1]], where="post", color=ORANGE, linewidth=2, label="best so far")
    ax.set_ylabel(metric, fontsize=TEXT)
    vertical_axis(ax, results)
    ax.grid(color=GRID)
    ax.legend(frameon=False, fontsize=SMALL)
    for row, kind in enumerate(kinds):
        places = [number for number, end in missing if end == kind]
        below.plot(places, [row] * len(places), "x", color=GRAY)
    below.set_yticks(range(len(kinds)), [kind.lower() for kind in kinds])
    below.set_ylim(max(len(kinds), 1) - 0.5, -0.5)
    below.set_xlim(0.5, len(values) + 0.5)
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    below.set_xlabel("run", fontsize=TEXT)
    return figure


def curves_of_runs(histories: Mapping[str, Sequence[float]], metric: str, lower: bool) -> Figure:
    """A metric of each run by epoch; the best runs are named and colored, the best in front."""
    reached = {name: (min if lower else max)(history) for name, history in histories.items()}
    ranked = sorted(histories, key=reached.get, reverse=not lower)
    figure, axes = new_figure(f"Best {metric}: {reached[ranked[0]]:.4g}, of {short(ranked[0], 100)}", 5.5)
    ax = axes[0, 0]
    colors = [ORANGE, BLUE, GREEN, SKY, "black"]
    for rank, name in reversed(list(enumerate(ranked))):
        named, history = rank < NAMED, histories[name]
        ax.plot(
            range(1, len(history) + 1),
            history,
            color=colors[rank] if named else GRAY,
            alpha=1 if named else 0.35,
            linewidth=3 if rank == 0 else 1.5 if named else 1,
            marker="o" if len(history) == 1 else None,
            zorder=len(ranked) - rank + 2,
            label=f"{reached[name]:.4g}  {short(name, 95)}" if named else None,
        )
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower left", frameon=False, fontsize=SMALL)
    vertical_axis(ax, [value for history in histories.values() for value in history])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlabel("epoch", fontsize=TEXT)
    ax.set_ylabel(metric, fontsize=TEXT)
    ax.grid(color=GRID)
    return figure


def pareto_front(values: np.ndarray, metrics: Sequence[str], lower: Sequence[bool], names: Sequence[str]) -> Figure:
    """A panel for each pair of objectives; the runs of the Pareto front are joined and named.

    `values` is (runs, objectives).
    """
    values = np.asarray(values, float)
    front = pareto_optimal(values, lower)
    pairs = [(i, j) for j in range(len(metrics)) for i in range(j)]
    columns = min(2, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    title = f"Pareto front of {' and '.join(metrics)}: {front.sum()} of {len(values)} runs"
    figure, axes = new_figure(title, 1 + 3.8 * rows, rows, columns)
    for ax in axes.flat[len(pairs) :]:
        ax.remove()
    chosen = np.flatnonzero(front)[np.argsort(values[front, 0], kind="stable")]
    for ax, (i, j) in zip(axes.flat, pairs, strict=False):
        ax.scatter(values[~front, i], values[~front, j], s=42, color=GRAY, alpha=0.5, linewidths=0)
        ax.plot(values[chosen, i], values[chosen, j], "o-" if len(metrics) == 2 else "o", color=ORANGE, linewidth=1.5)
        for number, run in enumerate(chosen, start=1):
            ax.annotate(str(number), values[run, [i, j]], (5, 5), textcoords="offset points", fontsize=SMALL)
        number_axis(ax.xaxis, values[:, i])
        number_axis(ax.yaxis, values[:, j])
        for axis, metric, low in ((ax.xaxis, metrics[i], lower[i]), (ax.yaxis, metrics[j], lower[j])):
            axis.set_label_text(f"{metric} ({'lower' if low else 'higher'} is better)", fontsize=TEXT)
        ax.grid(color=GRID)
    labels = [f"{number}  {short(names[run], 100)}" for number, run in enumerate(chosen[:FRONT], start=1)]
    labels += [f"and {len(chosen) - FRONT} more"] if len(chosen) > FRONT else []
    figure.legend(
        [Line2D([], [], color="none") for _ in labels],
        labels,
        loc="outside lower left",
        frameon=False,
        fontsize=SMALL,
        handlelength=0,
    )
    return figure


def pareto_optimal(values: np.ndarray, lower: Sequence[bool]) -> np.ndarray:
    """Pareto front, bool (runs,): no other run is as good in all objectives and better in one. `values` as above."""
    losses = np.where(lower, values, -np.asarray(values))
    as_good = (losses[:, None] <= losses[None]).all(axis=2)
    better = (losses[:, None] < losses[None]).any(axis=2)
    return ~(as_good & better).any(axis=0)


def _worst_first(values: Sequence[float], lower: bool) -> list[int]:
    """Sort runs by their values; of equal ones, the earliest is the best."""
    return sorted(range(len(values)), key=lambda run: (-values[run] if lower else values[run], -run))


def _best(params: Mapping[str, Column], values: Sequence[float], metric: str, lower: bool) -> str:
    """Format a title with the best run, and the number of others that are as good."""
    best = _worst_first(values, lower)[-1]
    settings = ", ".join(f"{name}={column[best]:.4g}" if isinstance(column[best], float) else f"{name}={column[best]}"
                         for name, column in params.items())  # fmt: skip
    equal = sum(value == values[best] for value in values) - 1
    return f"Best {metric}: {values[best]:.4g}, with {short(settings, 200)}" + (f" and {equal} more" if equal else "")

"""Axes of the columns of settings and results in figures of sweeps: positions, ticks, logarithmic scales."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from cifar.plots.style import short

Column = Sequence[float] | Sequence[str]
WIDE = 8
"""Minimum ratio of the greatest to the smallest positive number for a logarithmic axis."""


class Scale:
    """Positions of a column's values on an axis from 0 to 1, and its ticks."""

    def __init__(self, column: Column):
        if _is_text(column):
            names = list(dict.fromkeys(column))
            places = {name: (rank + 0.5) / len(names) for rank, name in enumerate(names)}
            self.heights = [places[value] for value in column]
            self.ticks = [(place, short(name, 18)) for name, place in places.items()]
            return
        change = np.log if _is_wide(column) else np.asarray
        low, high = change(min(column)), change(max(column))
        places = (change(column) - low) / (high - low) if high > low else np.full(len(column), 0.5)
        self.heights = list(places)
        marks = few_values(places, column) or [mark for mark in _marks(column) if min(column) <= mark <= max(column)]
        self.ticks = [((change(mark) - low) / (high - low) if high > low else 0.5, f"{mark:.4g}") for mark in marks]


def few_values(places: Sequence[float], numbers: Sequence[float]) -> list[float]:
    """Return the values if they are few and apart enough for a tick each; otherwise none."""
    apart = np.diff(np.unique(places))
    return list(np.unique(numbers)) if len(apart) < 8 and (apart > 0.04).all() else []


def _marks(numbers: Sequence[float]) -> np.ndarray:
    if not _is_wide(numbers):
        return MaxNLocator(8).tick_values(min(numbers), max(numbers))
    return LogLocator(subs=(1, 3)).tick_values(min(numbers), max(numbers))


def horizontal_axis(ax: Axes, column: Column) -> Column:
    """Set up a horizontal axis for a column; return the positions of its values."""
    if not _is_text(column):
        number_axis(ax.xaxis, column)
        if marks := few_values(Scale(column).heights, column):
            ax.set_xticks(marks)
        return column
    names = list(dict.fromkeys(column))
    turned = len(names) * max(map(len, names)) > 40  # characters in a line below the panel
    ax.set_xticks(
        range(len(names)),
        [short(name, 18) for name in names],
        rotation=30 if turned else 0,
        ha="right" if turned else "center",
    )
    ax.set_xlim(-0.5, len(names) - 0.5)
    return [names.index(value) for value in column]


def vertical_axis(ax: Axes, values: Column) -> None:
    number_axis(ax.yaxis, values)


def number_axis(axis: Axis, numbers: Column) -> None:
    if _is_wide(numbers):
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _is_text(column: Column) -> bool:
    return any(isinstance(value, str) for value in column)


def _is_wide(numbers: Column) -> bool:
    """True if the positive numbers are spread more evenly on a logarithmic axis than on a linear one."""
    low, high = min(numbers), max(numbers)
    if low <= 0 or high <= WIDE * low:
        return False
    middle = np.median(numbers)
    linear, logarithmic = (middle - low) / (high - low), np.log(middle / low) / np.log(high / low)
    return abs(logarithmic - 0.5) < abs(linear - 0.5)

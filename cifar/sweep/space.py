"""What a search may choose: settings, each with the values that it can have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar.runtime.errors import InputError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Number = int | float
Value = str | int | float


@dataclass(frozen=True)
class Choice:
    """One of several texts, none of them nearer to another."""

    values: Sequence[str]

    @property
    def ends(self) -> Sequence[Value]:
        """The values that show whether all can be used."""
        return self.values

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(tuple(self.values))

    def exact(self, value: Value) -> Value:
        """The value that is meant by one that was drawn from the distribution."""
        return value


@dataclass(frozen=True)
class Steps:
    """One of several numbers, rising and equally far from each other, on a logarithmic scale if `log`."""

    values: Sequence[Number]
    log: bool

    @property
    def ends(self) -> tuple[Number, Number]:
        return self.values[0], self.values[-1]

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution, IntDistribution

        low, high = self.ends
        if isinstance(low, int):
            step = int(self.values[1]) - low if high > low else 1
            return IntDistribution(low, int(high), log=self.log, step=step)
        return FloatDistribution(low, high, step=float(f"{self.values[1] - low:.12g}") if high > low else None)

    def exact(self, value: Number) -> Value:
        low, high = self.ends
        return self.values[round((value - low) / (high - low) * (len(self.values) - 1))] if high > low else low


@dataclass(frozen=True)
class Interval:
    """Any number from `low` to `high`, both included, whole if both are; on a logarithmic scale if `log`."""

    low: Number
    high: Number
    log: bool

    @property
    def values(self) -> Sequence[Value] | None:
        """All of them, `None` where there is no end of them."""
        return range(self.low, self.high + 1) if isinstance(self.low, int) and isinstance(self.high, int) else None

    @property
    def ends(self) -> tuple[Number, Number]:
        return self.low, self.high

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution, IntDistribution

        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def exact(self, value: Value) -> Value:
        return value


Dimension = Choice | Steps | Interval
Space = Mapping[str, Dimension]


def steps(start: Number, stop: Number, step: Number, log: bool) -> Steps:
    """The numbers from `start` on in steps of `step`, either way, before `stop`; whole where all three are.

    They are as written: 0.3 and not 0.30000000000000004, and not 0.4 where `stop` is that.
    """
    count = math.ceil(round((stop - start) / step, 9)) if step else 0
    values = (start + number * step for number in range(count))
    return Steps(sorted(value if isinstance(value, int) else float(f"{value:.12g}") for value in values), log)


def check(setting: str, dimension: Dimension) -> None:
    """Raises `InputError` where a dimension holds nothing, or has no logarithm."""
    if isinstance(dimension, Choice | Steps) and not dimension.values:
        raise InputError(f"{setting}: nothing to choose from")
    if isinstance(dimension, Choice):
        return
    low, high = dimension.ends
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError(f"{setting}: from {low} to {high}: should be finite and rise")
    if dimension.log and low <= 0:
        raise InputError(f"{setting}: from {low}: should be greater than 0 on a logarithmic scale")
    is_dense = isinstance(dimension, Interval) or (isinstance(low, int) and len(dimension.values) > high - low)
    if dimension.log and not is_dense:
        raise InputError(f"{setting}: should be an interval, or whole numbers in steps of 1, on a logarithmic scale")


def size(space: Space) -> float:
    """How many combinations there are; infinite where a setting can have any number of an interval."""
    return math.prod(math.inf if dimension.values is None else len(dimension.values) for dimension in space.values())

"""The verdict of a race: contenders compared on the same seeds, one seed after the other.

A contender is out once a sequential t test of the paired differences shows that another is better. With `k` contenders
of which `m` remain, each ordered pair is tested at `ALPHA / (m * (k - 1))`. The probability that any best contender is
ever out is then at most `ALPHA`: the first of `t` best ones to be put out is so while all `t` remain, and hence by one
of its `k - 1` comparisons at a level of at most `ALPHA / (t * (k - 1))`. That is Holm's procedure ("A simple
sequentially rejective multiple test procedure", 1979) for the hypotheses "this contender is a best one", a closed test
(Goeman and Solari, "The sequential rejection principle of familywise error control", 2010). The same bounds show that
the remaining ones are equivalent: if two of them were further apart than the margin, so would be one of them and a best
one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile
from typing import Literal

import numpy as np

from cifar.config.objective import lower_is_better
from cifar.metrics import sequential

ALPHA = 0.05
"""The probability of any false verdict in a race, whenever one looks."""

Values = Mapping[str, Mapping[int, float]]
"""The objective of each contender for each seed, NaN where its job failed."""


@dataclass(frozen=True)
class Rules:
    """What decides a race: the metric, the seeds in their order, and the settings of `conf/hydra/sweeper/race.yaml`."""

    metric: str
    seeds: Sequence[int]
    margin: float = 0.0
    effect: float = 1.0

    @property
    def sign(self) -> int:
        """The sign of a difference, first minus second, where the first contender is better."""
        return -1 if lower_is_better(self.metric) else 1


@dataclass(frozen=True)
class Standing:
    """A race after `size` seeds that all remaining contenders have finished.

    `out` has, for each contender that is shown not to be a best one, the number of seeds that it took and the contender
    that is better. `level` is that of one side of one comparison at the last look. The `verdict` is empty while the
    race is open; `reason` says why it is undecided.
    """

    size: int
    remaining: tuple[str, ...]
    out: Mapping[str, tuple[int, str]]
    failed: tuple[str, ...]
    level: float
    verdict: Literal["", "better", "equivalent", "undecided"] = ""
    reason: str = ""


class Pair:
    """The comparison of two contenders on the seeds before the first that one of them lacks."""

    def __init__(self, values: Values, first: str, second: str, rules: Rules):
        found = (values[first].get(seed, math.nan) - values[second].get(seed, math.nan) for seed in rules.seeds)
        self.differences = np.array(list(takewhile(math.isfinite, found)), float)
        """First minus second, (n,), in the unit of the objective."""
        self._rules = rules
        self._bounds: dict[float, np.ndarray] = {}
        ratios = [sequential.log_ratios(sign * self.differences, rules.effect) for sign in (rules.sign, -rules.sign)]
        self._p = [sequential.p_values(one, rules.effect) for one in ratios]
        self._futile = np.maximum(*ratios) <= math.log(sequential.FUTILE)

    def p(self, size: int) -> tuple[float, float]:
        """Anytime-valid p values of "the first is not better" and "the second is not better" after `size` seeds."""
        size = min(size, len(self.differences))
        return (float(self._p[0][size - 1]), float(self._p[1][size - 1])) if size else (1.0, 1.0)

    def bounds(self, level: float) -> np.ndarray:
        """The confidence sequence of the difference, (n, 2), `level` for each side."""
        if level not in self._bounds:
            self._bounds[level] = sequential.confidence_sequence(self.differences, level, self._rules.effect)
        return self._bounds[level]

    def is_within_margin(self, size: int, level: float) -> bool:
        """True if the difference is less than the margin on either side."""
        size = min(size, len(self.differences))
        if not size or not self._rules.margin:
            return False
        low, high = self.bounds(level)[size - 1]
        return bool(-self._rules.margin < low and high < self._rules.margin)

    def is_futile(self, size: int, level: float) -> bool:
        """True if the race is unlikely to find a difference, or to show within its budget that none counts."""
        size, rules = min(size, len(self.differences)), self._rules
        if not size or not self._futile[size - 1]:
            return False
        seen = self.differences[:size]
        critical = sequential.critical_value(len(rules.seeds), level, rules.effect)
        return bool(abs(seen.mean()) + critical * seen.std(ddof=1) / math.sqrt(len(rules.seeds)) >= rules.margin)


def judge(values: Values, rules: Rules) -> Standing:
    """The race up to the first seed that a remaining contender has not finished."""
    pairs = {pair: Pair(values, *pair, rules) for pair in combinations(values, 2)}
    remaining, failed = list(values), list[str]()
    out: dict[str, tuple[int, str]] = {}
    standing = Standing(0, tuple(remaining), out, (), _level(remaining, values))
    for size, seed in enumerate(rules.seeds, start=1):
        if any(seed not in values[name] for name in remaining):
            break
        for name in [name for name in remaining if math.isnan(values[name][seed])]:
            remaining.remove(name)
            failed.append(name)
        _put_out(remaining, out, pairs, size, values)
        level = _level(remaining, values)
        verdict, reason = _verdict(remaining, out, pairs, size, level, rules)
        standing = Standing(size, tuple(remaining), dict(out), tuple(failed), level, verdict, reason)
        if verdict:
            break
    return standing


def _level(remaining: Sequence[str], contenders: Values) -> float:
    return ALPHA / (max(len(remaining), 2) * (len(contenders) - 1))


def _put_out(
    remaining: list[str], out: dict[str, tuple[int, str]], pairs: Mapping[tuple[str, str], Pair], size: int,
    contenders: Values,
) -> None:  # fmt: skip
    """Move the contenders that are not the best from `remaining` to `out`, the one with the least p value first."""
    while len(remaining) > 1:
        found = [
            (p, worse, better)
            for (first, second), pair in pairs.items()
            for p, worse, better in zip(pair.p(size), (second, first), (first, second), strict=True)
            if worse in remaining
        ]
        p, worse, better = min(found)
        if p > _level(remaining, contenders):
            return
        remaining.remove(worse)
        out[worse] = size, better


def _verdict(
    remaining: Sequence[str], out: Mapping[str, tuple[int, str]], pairs: Mapping[tuple[str, str], Pair], size: int,
    level: float, rules: Rules,
) -> tuple[Literal["", "better", "equivalent", "undecided"], str]:  # fmt: skip
    if len(remaining) < 2:
        return ("better", "") if remaining and out else ("undecided", "the jobs of the others failed")
    left = [pairs[pair] for pair in combinations(remaining, 2)]
    within = [pair.is_within_margin(size, level) for pair in left]
    if all(within):
        return "equivalent", ""
    if all(near or pair.is_futile(size, level) for near, pair in zip(within, left, strict=True)):
        deviations = f"{rules.effect:g} standard deviation{'s' * (rules.effect != 1)}"
        return "undecided", f"a difference of {deviations} or more is unlikely"
    return ("undecided", "the budget is spent") if size == len(rules.seeds) else ("", "")

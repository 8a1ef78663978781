"""A race in words, in a table, and in a picture."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from cifar import tracking
from cifar.runtime.terminal import number, signed
from cifar.sweep.standings import ALPHA, Pair, Rules, Standing, Values


def line(values: Values, rules: Rules, standing: Standing) -> str:
    """The contenders after the last seed: the leader, and each other's difference to it with its bounds."""
    leader = _leader(values, rules, standing)
    parts = [f"{leader} {number(_mean(values, leader, rules, standing))}"]
    for name in values:
        if name != leader:
            note = ", out" if name in standing.out else ", failed" if name in standing.failed else ""
            parts.append(f"{name} {_difference(values, name, leader, rules, standing)}{note}")
    return f"{rules.metric} after {_seeds(standing)}: {'; '.join(parts)}"


def verdict(values: Values, rules: Rules, standing: Standing) -> str:
    """The verdict of a race in one sentence."""
    after, failed = f"after {_seeds(standing)}", "".join(f"; {name} failed" for name in standing.failed)
    match standing.verdict:
        case "better":
            best = standing.remaining[0]
            rest = [f"{_difference(values, best, name, rules, standing)} against {name}" for name in standing.out]
            return (
                f"verdict {after}: {best} is better: {rules.metric} {'; '.join(rest)}{failed} "
                f"(a wrong verdict in at most {100 * ALPHA:.0f} % of races, whenever one looks)"
            )
        case "equivalent":
            names = ", ".join(standing.remaining)
            return f"verdict {after}: {names} differ by less than {rules.margin:g} in {rules.metric}{failed}"
        case "undecided":
            return f"no verdict {after}: {standing.reason}; {', '.join(standing.remaining)} remain{failed}"
    return f"no verdict yet {after}; the same command continues the race"


def rows(values: Values, rules: Rules, standing: Standing) -> list[dict[str, Any]]:
    """A row for each pair and seed: both values, the difference, its mean so far, its bounds, and the p values."""
    return [row for pair in combinations(values, 2) for row in _pair_rows(values, *pair, rules, standing)]


def record(parent: tracking.SweepRun, values: Values, rules: Rules, standing: Standing) -> None:
    """Tags, `race.csv` and a picture of the confidence sequences."""
    from cifar.plots.race import confidence_sequences

    sentence = verdict(values, rules, standing)
    best = standing.remaining[0] if standing.verdict == "better" else ""
    parent.log_tags({"race": sentence, "race.verdict": standing.verdict or "open", "race.best": best,
                     "race.seeds": standing.size})  # fmt: skip
    parent.log_table(rows(values, rules, standing), "race.csv")
    leader = _leader(values, rules, standing)
    panels = {}
    for name in values:
        pair = Pair(values, leader, name, rules)
        if name != leader and len(pair.differences):
            panels[f"{leader} minus {name}"] = pair.differences, pair.bounds(standing.level)
    if panels:
        parent.log_figure(confidence_sequences(panels, rules.metric, rules.margin, sentence.partition(" (")[0]), "race")


def _pair_rows(values: Values, first: str, second: str, rules: Rules, standing: Standing) -> Iterator[dict[str, Any]]:
    pair = Pair(values, first, second, rules)
    bounds = pair.bounds(standing.level)
    for place, difference in enumerate(pair.differences):
        seed, p = rules.seeds[place], pair.p(place + 1)
        yield {
            "first": first,
            "second": second,
            "seed": seed,
            f"{rules.metric} of first": values[first][seed],
            f"{rules.metric} of second": values[second][seed],
            "difference": float(difference),
            "mean": float(pair.differences[: place + 1].mean()),
            "low": float(bounds[place, 0]),
            "high": float(bounds[place, 1]),
            "p, first is not better": p[0],
            "p, second is not better": p[1],
        }


def _leader(values: Values, rules: Rules, standing: Standing) -> str:
    return max(standing.remaining or values, key=lambda name: rules.sign * _mean(values, name, rules, standing))


def _mean(values: Values, name: str, rules: Rules, standing: Standing) -> float:
    return float(np.mean([values[name].get(seed, np.nan) for seed in rules.seeds[: standing.size]] or [np.nan]))


def _difference(values: Values, first: str, second: str, rules: Rules, standing: Standing) -> str:
    """First minus second on the seeds that count: the mean and, once there are any, the bounds."""
    pair = Pair(values, first, second, rules)
    size = min(standing.size, len(pair.differences))
    if not size:
        return "—"
    low, high = pair.bounds(standing.level)[size - 1]
    bounds = f" [{signed(low)}, {signed(high)}]" if np.isfinite([low, high]).all() else ""
    return f"{signed(pair.differences[:size].mean())}{bounds}"


def _seeds(standing: Standing) -> str:
    return f"{standing.size} seed{'s' * (standing.size != 1)}"

"""Recipes against each other: settings and code without the seed, as their networks of several seeds show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cifar.analysis.groups import Group
from cifar.analysis.predictions import Answers, group_pairs, scores
from cifar.metrics.crossed import Difference, difference, expected_spread, seeds_to_settle, spread
from cifar.metrics.statistics import Interval, holm, welch_interval


@dataclass(frozen=True)
class RecipePair:
    """Two groups of several seeds each, with what new seeds and new images would make of their difference."""

    first: Group
    second: Group
    difference: Difference
    corrected_p: float = math.nan


@dataclass(frozen=True)
class MetricPair:
    """Two groups of several seeds each, and the difference in a metric, the second's mean less the first's."""

    first: Group
    second: Group
    difference: float
    interval: Interval


@dataclass(frozen=True)
class SeedSpread:
    """Standard deviations of a group's test accuracy over seeds: observed, by the number of test images, beyond it.

    NaN for what a single seed does not show; the second is then the one to expect of its accuracy.
    """

    observed: float
    by_images: float
    beyond: float


def compared(groups: Sequence[Group], answers: Answers) -> list[RecipePair]:
    """Pairs of the groups that have several seeds, all p values corrected together after Holm."""
    several = _of_several_seeds(groups)
    found = {group.letter: scores(group, answers) for group in several}
    pairs = [
        RecipePair(first, second, difference(found[first.letter], found[second.letter]))
        for first, second in group_pairs(several)
    ]
    corrected = holm([pair.difference.p for pair in pairs])
    return [replace(pair, corrected_p=float(p)) for pair, p in zip(pairs, corrected, strict=True)]


def compared_by_metric(groups: Sequence[Group], metric: str) -> list[MetricPair]:
    """Pairs of the groups that have several seeds and this metric, by Welch's interval over seeds."""
    several = [group for group in _of_several_seeds(groups) if group.aggregate(metric)]
    pairs = []
    for first, second in group_pairs(several):
        here, there = first.observations(metric), second.observations(metric)
        value = sum(there) / len(there) - sum(here) / len(here)
        pairs.append(MetricPair(first, second, value, welch_interval(there, here)))
    return pairs


def seed_spread(group: Group, answers: Answers) -> SeedSpread:
    """The spread of the accuracies of a group's seeds."""
    found = scores(group, answers)
    if len(found) < 2:
        return SeedSpread(math.nan, math.sqrt(expected_spread(float(found.mean()), found.shape[1])), math.nan)
    own = spread(found)
    return SeedSpread(math.sqrt(own.over_seeds), math.sqrt(own.by_images), own.beyond)


def planned_seeds(first: Group, second: Group, answers: Answers) -> float:
    """Seeds of each recipe that would settle the difference of two groups of one seed each.

    By the spread to expect from the number of test images, since a single seed shows none; see
    `Difference.seeds_to_settle`.
    """
    here, there = (scores(group, answers).mean(axis=0) for group in (first, second))
    variances = np.array([expected_spread(float(own.mean()), len(own)) for own in (here, there)])
    change = there - here
    interaction = max(0.0, float(change.var(ddof=1)) / len(change) - float(variances.sum()))
    return seeds_to_settle(float(change.mean()), variances, interaction)


def _of_several_seeds(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if len(group.seeds) > 1]

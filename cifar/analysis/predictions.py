"""Predictions of several runs on the same test images: significance tests, accuracy by class, differing images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np

from cifar.analysis.groups import Group
from cifar.metrics.statistics import Interval, McNemar, holm, mcnemar, paired_difference_interval
from cifar.tracking.queries import Predictions, StoredRun

ALL_PAIRS = 10
"""Of so many groups, each is tested against each; of more, each against the first."""

Answers = Mapping[str, Predictions]
"""By run id."""


@dataclass(frozen=True)
class Pair:
    """Two networks on the same test images; `difference` is the second's accuracy less the first's."""

    first: tuple[Group, StoredRun]
    second: tuple[Group, StoredRun]
    only_first: int
    only_second: int
    difference: float
    interval: Interval
    test: McNemar
    corrected_p: float


@dataclass(frozen=True)
class Contrast:
    """The images that most runs of one group get right and most of another wrong: how many, and the clearest first."""

    better: Group
    worse: Group
    images: np.ndarray


def have_same_images(groups: Sequence[Group], answers: Answers) -> bool:
    """True if all runs were evaluated on the same images in the same order."""
    runs = [run for group in groups for run in group.runs]
    labels = answers[runs[0].id].label
    fingerprints = {run.test_images for run in runs}
    return (
        len(fingerprints) == 1
        and "" not in fingerprints
        and all(np.array_equal(answers[run.id].label, labels) for run in runs)
    )


def scores(group: Group, answers: Answers) -> np.ndarray:
    """(seeds, images): the share of the runs of each seed that are right on each image; 0 or 1 where it is one run."""
    return np.stack([np.mean([answers[run.id].correct for run in runs], axis=0) for runs in group.seeds])


def group_pairs(groups: Sequence[Group]) -> Iterable[tuple[Group, Group]]:
    """Each with each of at most `ALL_PAIRS` groups; of more, the first with each other."""
    return combinations(groups, 2) if len(groups) <= ALL_PAIRS else product(groups[:1], groups[1:])


def tested(groups: Sequence[Group], answers: Answers) -> list[Pair]:
    """McNemar's test of pairs of networks, all p values corrected together after Holm.

    Runs of two groups are paired by their seed, or all with all where they share none; of a single group, all runs are.
    """
    pairs = []
    for first, second in _pairs(groups):
        here, there = (answers[run.id].correct for _, run in (first, second))
        only_first, only_second = int((here & ~there).sum()), int((there & ~here).sum())
        pairs.append(
            Pair(
                first,
                second,
                only_first,
                only_second,
                float(there.mean() - here.mean()),
                paired_difference_interval(only_second, only_first, len(here)),
                mcnemar(only_first, only_second),
                float("nan"),
            )
        )
    corrected = holm([pair.test.p for pair in pairs])
    return [replace(pair, corrected_p=float(p)) for pair, p in zip(pairs, corrected, strict=True)]


def by_class(groups: Sequence[Group], answers: Answers) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the classes, number of their test images, and each group's mean accuracy on them (groups, classes)."""
    label = answers[groups[0].runs[0].id].label
    names, index, counts = np.unique(label, return_inverse=True, return_counts=True)
    right = np.stack([_share_right(group, answers) for group in groups])
    return names.tolist(), counts, np.stack([np.bincount(index, row) for row in right]) / counts


def contrasts(groups: Sequence[Group], answers: Answers) -> Iterator[Contrast]:
    """Of the first group against each other, both ways."""
    for other in groups[1:ALL_PAIRS]:
        for better, worse in ((groups[0], other), (other, groups[0])):
            gap = _share_right(better, answers) - _share_right(worse, answers)
            certain = _certainty(better, answers) - _certainty(worse, answers)
            wanted = np.flatnonzero((_share_right(better, answers) > 0.5) & (_share_right(worse, answers) < 0.5))
            yield Contrast(better, worse, wanted[np.lexsort((-certain[wanted], -gap[wanted]))])


def answer(group: Group, answers: Answers, image: int) -> str:
    """The class that most runs of a group see in a test image."""
    names, counts = np.unique([answers[run.id].predicted[image] for run in group.runs], return_counts=True)
    return str(names[counts.argmax()])


def _pairs(groups: Sequence[Group]) -> Iterator[tuple[tuple[Group, StoredRun], tuple[Group, StoredRun]]]:
    if len(groups) == 1:
        yield from combinations([(groups[0], run) for run in groups[0].runs], 2)
    for first, second in group_pairs(groups):
        all_pairs = list(product(first.runs, second.runs))
        same_seed = [(one, other) for one, other in all_pairs if one.params.get("seed") == other.params.get("seed")]
        yield from (((first, one), (second, other)) for one, other in same_seed or all_pairs)


def _share_right(group: Group, answers: Answers) -> np.ndarray:
    """(n,): the share of a group's seeds that are right on each image."""
    share: np.ndarray = scores(group, answers).mean(axis=0)
    return share


def _certainty(group: Group, answers: Answers) -> np.ndarray:
    """(n,): the mean probability that a group's runs give the label of each image."""
    certainty: np.ndarray = np.mean([answers[run.id].label_probability for run in group.runs], axis=0)
    return certainty

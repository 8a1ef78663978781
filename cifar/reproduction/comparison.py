"""Weights, metrics and scores of a run and of its reproduction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from cifar.runtime import terminal
from cifar.tracking import queries
from cifar.tracking.queries import StoredRun

SPLITS = ("train", "val", "best", "test", "model")
"""Prefixes of the metrics that a training records; others belong to the machine or to other data."""
LEARNING_RATE = "lr"
SCORES = {
    "best/accuracy": "val", "best/positive_accuracy": "val", "test/accuracy": "test", "test/map": "test",
    "test/iou": "test", "test/mean_iou": "test",
}  # fmt: skip
"""Means over images of something between 0 and 1, with the split of these images."""
STANDARD_ERRORS = 3


class Score(NamedTuple):
    """A score of both runs, and the difference that is accepted where equal bits are not promised."""

    name: str
    recorded: float
    reproduced: float
    tolerance: float

    @property
    def is_within(self) -> bool:
        """True if the difference is within the tolerance."""
        return abs(self.reproduced - self.recorded) <= self.tolerance


@dataclass(frozen=True)
class Comparison:
    """A run and its reproduction.

    `differing` names the metrics that are not equal to the bit, those of epochs with the first epoch that differs.
    """

    weights: tuple[str, str]
    metrics: int
    differing: list[str]
    scores: list[Score]

    @classmethod
    def of(
        cls, recorded: StoredRun, reproduced: StoredRun, images: dict[str, int], tolerance: float | None
    ) -> Comparison:
        """Compare what both runs have recorded; `images` is the number of images of each split."""
        names = sorted(name for name in recorded.metrics.keys() & reproduced.metrics.keys() if _is_compared(name))
        scores = [
            Score(
                name,
                recorded.metrics[name],
                reproduced.metrics[name],
                standard_errors(recorded.metrics[name], images[split]) if tolerance is None else tolerance,
            )
            for name, split in SCORES.items()
            if name in names
        ]
        weights = recorded.tags.get("weights_sha256", "not recorded"), reproduced.tags.get("weights_sha256", "")
        return cls(weights, len(names), list(_differing(recorded, reproduced, names)), scores)

    @property
    def is_equal(self) -> bool:
        """True if weights and all metrics are equal to the bit."""
        return self.weights[0] == self.weights[1] and not self.differing

    def __str__(self) -> str:
        rows = [["", "recorded", "reproduced", "difference", "tolerance"]]
        same = "none" if self.weights[0] == self.weights[1] else "yes"
        rows.append(["weights (SHA-256)", *(weights[:12] for weights in self.weights), same, ""])
        rows += [
            [one.name, f"{one.recorded:.6f}", f"{one.reproduced:.6f}",
             terminal.signed(one.reproduced - one.recorded, 6), f"{one.tolerance:.6f}"] for one in self.scores
        ]  # fmt: skip
        shown = terminal.table(rows, terminal.width())
        equal = self.metrics - len(self.differing)
        return "\n".join([shown, f"{equal} of {self.metrics} metrics are equal to the bit", *self.differing])


def standard_errors(score: float, images: int) -> float:
    """Return 3 standard errors of the difference between means of two samples of images, at most.

    A value between 0 and 1 with mean p has a variance of at most p (1 - p) (Bhatia and Davis 2000, A Better
    Bound on the Variance, The American Mathematical Monthly 107).
    """
    variance = max(score * (1 - score), 1 / images)  # of a score of 1, one wrong image is no surprise
    return STANDARD_ERRORS * math.sqrt(2 * variance / images)


def _is_compared(name: str) -> bool:
    return name == LEARNING_RATE or name.partition("/")[0] in SPLITS


def _differing(recorded: StoredRun, reproduced: StoredRun, names: list[str]) -> Iterator[str]:
    before, after = (queries.history(run, names) for run in (recorded, reproduced))
    for name in names:
        if before[name] and len(before[name]) == len(after[name]):
            epochs = [
                epoch for epoch, pair in enumerate(zip(before[name], after[name], strict=True), 1) if _unequal(*pair)
            ]
            if epochs:
                pair = (values[name][epochs[0] - 1] for values in (before, after))
                yield f"{name} differs from epoch {epochs[0]} on: {' and '.join(map(repr, pair))}"
        elif _unequal(recorded.metrics[name], reproduced.metrics[name]) or len(before[name]) != len(after[name]):
            yield f"{name} differs: {recorded.metrics[name]!r} and {reproduced.metrics[name]!r}"


def _unequal(one: float, other: float) -> bool:
    return one != other and not (math.isnan(one) and math.isnan(other))

"""Everything that an audit has found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cifar.audit import descriptors, duplicates, oddities, outliers
from cifar.audit.duplicates import Duplicates
from cifar.audit.noise import Noise, estimate
from cifar.audit.pool import SPLITS, Pool
from cifar.data.exclusion import Excluded
from cifar.interfaces import Dataset


@dataclass(frozen=True)
class Findings:
    """The results of all checks; images are their numbers in `pool`.

    `invalid` has a message about each file or annotation that the data set could not use; `noise` is `None` where the
    labels were not checked, and `unchecked` says why. `distances` (n,) are those of `outliers`. `images` and
    `annotations` have odd images by what is odd about them.
    """

    pool: Pool
    invalid: Sequence[str]
    duplicates: Duplicates
    noise: Noise | None
    unchecked: str
    distances: np.ndarray
    images: Mapping[str, np.ndarray]
    annotations: Mapping[str, np.ndarray]

    @property
    def outliers(self) -> np.ndarray:
        """The numbers of all images, those that are least like others first."""
        return np.argsort(-self.distances, kind="stable")

    @property
    def contradictions(self) -> np.ndarray:
        """The pairs (k, 2) of duplicates with different labels."""
        labels = self.pool.labels
        if labels is None:
            return self.duplicates.pairs[:0]
        first, second = labels[self.duplicates.pairs.T]
        return self.duplicates.pairs[first != second]

    def label(self, number: int) -> str:
        """The class of an image; empty without labels."""
        labels = self.pool.labels
        return "" if labels is None else self.pool.dataset.class_names[labels[number]]

    def suggestion(self, number: int) -> str:
        """The class that an image is likely to be of, and the probability that its label is wrong."""
        assert self.noise is not None
        name = self.pool.dataset.class_names[self.noise.suggested[number]]
        return f"{name} {self.noise.wrong[number]:.2f}"

    def excluded(self) -> list[Excluded]:
        """The training and validation images to leave out: surplus duplicates, likely wrong labels, and empty images.

        Test images are never left out, as scores on other test images could not be compared.
        """
        ids, found = self.pool.ids, {}
        for number in self.images.get(oddities.EMPTY, ()):
            found[number] = Excluded(ids[number], "empty", oddities.EMPTY)
        for number in self.noise.likely if self.noise else ():
            found[number] = Excluded(ids[number], "label", f"{self.label(number)}, likely {self.suggestion(number)}")
        for number, twin in self.duplicates.surplus().items():
            found[number] = Excluded(ids[number], "duplicate", f"of {ids[twin]} ({SPLITS[self.pool.split[twin]]})")
        return [found[number] for number in sorted(found) if SPLITS[self.pool.split[number]] != "test"]


def audit(
    dataset: Dataset, invalid: Sequence[str], seed: int, labels: bool, flips: bool, report: Callable[[str], None]
) -> Findings:
    """Check a data set; `labels=False` skips the check of labels, which takes longest; for `flips` see `folds`.

    `report` is called with the name of each step when it begins.
    """
    from cifar.audit import folds

    pool = Pool(dataset)
    report("images, boxes and masks")
    images, annotations = oddities.odd_images(pool), oddities.odd_annotations(pool)
    report("duplicates")
    twins = duplicates.find(pool)
    unchecked = folds.reason_against(pool) if labels else "--skip-labels is given"
    noise, features, parts = None, None, np.zeros(len(pool), np.int64)
    if pool.labels is not None and not unchecked:
        found = folds.classified(pool, seed, flips, lambda number: report(f"labels, network {number} of {folds.FOLDS}"))
        noise, features, parts = estimate(found.probabilities, pool.labels), found.features, found.fold
    if features is None:
        features, _ = descriptors.described(pool.gray)
    report("outliers")
    distances = outliers.distances(features, parts, seed)
    return Findings(pool, invalid, twins, noise, unchecked, distances, images, annotations)

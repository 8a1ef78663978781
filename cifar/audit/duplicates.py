"""Exact and near duplicates within and across the splits of a data set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import coo_matrix, csgraph

from cifar.audit import correlation, descriptors
from cifar.audit.pool import Pool
from cifar.interfaces import Dataset

MIN_DEVIATIONS = 10.0
"""Standard deviations from chance of the correlation of near duplicates."""
MIN_AMONG_SIMILAR = 3.0
"""Robust standard deviations of the same above its median over all pairs of images with similar descriptors, which are
not duplicates for the most part. This is the higher bar where all images are alike, as handwritten digits are."""
MIN_CORRELATION = 0.7
MIN_FINE = 0.65
"""Correlation of the details of near duplicates, which objects of one shape do not share."""
ENOUGH = 1000
"""Similar pairs from which on their deviations are estimated."""
PAIRS = 1000
"""Pairs that are compared at once."""


@dataclass(frozen=True)
class Duplicates:
    """Pairs of images; `pairs` int64 (m, 2), the smaller number first, no pair twice.

    `is_exact` (m,) is true where all pixels are equal, `is_mirrored` where one image is mirrored; `correlation` (m,) is
    that of the aligned images, 1 for exact duplicates.
    """

    pool: Pool
    pairs: np.ndarray
    is_exact: np.ndarray
    is_mirrored: np.ndarray
    correlation: np.ndarray

    def between(self, one: int, other: int) -> np.ndarray:
        """The positions of the pairs of an image of split `one` and one of split `other`, as in `pool.SPLITS`."""
        splits = np.sort(self.pool.split[self.pairs], axis=1)
        return np.flatnonzero((splits == sorted((one, other))).all(axis=1))

    def twins(self, of: int, within: int) -> np.ndarray:
        """The sorted numbers of the images of split `of` that have a duplicate in the other split `within`."""
        images = self.pairs[self.between(of, within)]
        return np.unique(images[self.pool.split[images] == of])

    @cached_property
    def groups(self) -> list[np.ndarray]:
        """The sorted images of each group that pairs connect, the group with most splits, then the largest first."""
        count = len(self.pool)
        links = coo_matrix((np.ones(len(self.pairs)), self.pairs.T), (count, count))
        _, group = csgraph.connected_components(links, directed=False)
        members = np.unique(self.pairs)
        order = members[np.argsort(group[members], kind="stable")]
        found = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []
        return sorted(found, key=lambda images: (-len(np.unique(self.pool.split[images])), -len(images), images[0]))

    def surplus(self) -> dict[int, int]:
        """The images to leave out of a training, each with the twin because of which.

        They are the training and validation images with a twin in the test split, and of twins among them all but one.
        """
        test = self.pool.split == 2
        neighbors: dict[int, list[int]] = {}
        for one, other in self.pairs.tolist():
            neighbors.setdefault(one, []).append(other)
            neighbors.setdefault(other, []).append(one)
        excluded: dict[int, int] = {}
        for image in sorted(neighbors):
            near = sorted(neighbors[image])
            twins = [twin for twin in near if test[twin]] or [
                twin for twin in near if twin < image and twin not in excluded
            ]
            if twins and not test[image]:
                excluded[image] = twins[0]
        return excluded


def find(pool: Pool) -> Duplicates:
    """Return the duplicates of a data set: found after shifts, mirroring, scaling by 0.9 to 1.1, and changes of color.

    Candidates are near in their descriptors; then their pixels decide.
    """
    candidates = descriptors.similar_pairs(*descriptors.described(pool.gray))
    return _confirmed(pool, _exact_pairs(pool), candidates)


def tests_with_twins(dataset: Dataset) -> np.ndarray:
    """Return the sorted positions in the test split of the images that have a duplicate in the training split."""
    pool = Pool(replace(dataset, val=dataset.val.take(np.arange(0))))
    candidates = descriptors.similar_pairs(*descriptors.described(pool.gray))
    across = candidates[pool.split[candidates[:, 0]] != pool.split[candidates[:, 1]]]
    return _confirmed(pool, _exact_pairs(pool), across).twins(2, 0) - len(dataset.train)


def _confirmed(pool: Pool, exact: np.ndarray, candidates: np.ndarray) -> Duplicates:
    near, correlations = _near_pairs(pool, candidates)
    pairs = np.concatenate([np.pad(exact, ((0, 0), (0, 1))), near])
    values = np.concatenate([np.ones(len(exact)), correlations])
    order = np.lexsort((-values, pairs[:, 1], pairs[:, 0]))  # the first of equal pairs is the best one
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(pairs[order, :2], axis=0) != 0).any(axis=1)
    chosen = order[first]
    return Duplicates(pool, pairs[chosen, :2], chosen < len(exact), pairs[chosen, 2] == 1, values[chosen])


def _exact_pairs(pool: Pool) -> np.ndarray:
    """Each image with the first one of each split that has the same pixels: int64 (m, 2)."""
    seen: dict[bytes, dict[int, int]] = {}
    pairs = []
    for number, split in enumerate(pool.split.tolist()):
        digest = hashlib.blake2b(np.ascontiguousarray(pool.image(number)).data, digest_size=16).digest()
        first = seen.setdefault(digest, {})
        pairs += [(other, number) for other in first.values()]
        first.setdefault(split, number)
    return np.array(pairs, np.int64).reshape(-1, 2)


def _near_pairs(pool: Pool, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The near duplicates among rows of `descriptors.similar_pairs`, and their correlations."""
    compared = [
        correlation.compare(*_bands(pool, candidates[start : start + PAIRS], correlation.COARSE))
        for start in range(0, len(candidates), PAIRS)
    ]
    if not compared:
        return candidates, np.zeros(0)
    correlations = np.concatenate([part.correlation for part in compared])
    deviations = np.concatenate([part.deviations for part in compared])
    likely = np.flatnonzero((correlations >= MIN_CORRELATION) & (deviations >= _bar(deviations)))
    fine = [
        correlation.compare(*_bands(pool, candidates[likely[start : start + PAIRS]], correlation.FINE)).correlation
        for start in range(0, len(likely), PAIRS)
    ]
    near = likely[np.concatenate([np.zeros(0), *fine]) >= MIN_FINE]
    return candidates[near], correlations[near]


def _bar(deviations: np.ndarray) -> float:
    """Return the deviations from chance that near duplicates have at least, given those of all similar pairs."""
    if len(deviations) < ENOUGH:
        return MIN_DEVIATIONS
    median = np.median(deviations)
    spread = 1.4826 * np.median(np.abs(deviations - median))  # the standard deviation of normal values
    return max(MIN_DEVIATIONS, float(median + MIN_AMONG_SIMILAR * spread))


def _bands(pool: Pool, pairs: np.ndarray, sigmas: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A band of frequencies of the first and of the second image of each pair."""
    numbers, place = np.unique(pairs[:, :2], return_inverse=True)
    bands = correlation.band(pool.gray[numbers], sigmas)
    first, second = bands[place.reshape(-1, 2).T]
    mirrored = pairs[:, 2] == 1
    first[mirrored] = first[mirrored][:, :, ::-1]
    return first, second

"""Labels that are likely wrong, from probabilities that classifiers give images which they were not trained on.

The data are those of confident learning (Northcutt et al., 2021, arXiv:1911.00068): out-of-fold probabilities and given
labels, from which the joint distribution of given and true labels is estimated. Here it is estimated by maximum
likelihood, with the EM algorithm of Dawid and Skene (1979), together with a temperature of the probabilities (Guo et
al., 2017, arXiv:1706.04599). The confident joint counts images that are above a threshold of their class instead, and
takes many hard images for wrong ones where classifiers are not very accurate: benchmarks/README.md has both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LIKELY = 1 / 4
"""Probability from which on a label is likely wrong."""
TEMPERATURES = np.geomspace(0.4, 1.6, 8)
PRIOR = 1.0
"""Weight of the prior, by which all confusions are equally frequent, in images for each image of a class."""
STEPS, LAST_STEPS = 8, 30
"""EM steps at each temperature, and at the best one."""


@dataclass(frozen=True)
class Noise:
    """`wrong` (n,) is the probability that a label is wrong, `suggested` (n,) the most probable other class.

    `rate` is the estimated share of wrong labels.
    """

    wrong: np.ndarray
    suggested: np.ndarray

    @property
    def rate(self) -> float:
        return float(self.wrong.mean())

    @property
    def likely(self) -> np.ndarray:
        """The numbers of the images with a label that is likely wrong, the most probable ones first."""
        order = np.argsort(-self.wrong, kind="stable")
        return order[self.wrong[order] >= LIKELY]


def estimate(probabilities: np.ndarray, labels: np.ndarray) -> Noise:
    """Estimate the noise in `labels` int (n,) from out-of-fold `probabilities` (n, classes)."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-12))
    given = np.eye(logits.shape[1])[labels]
    start = _with_prior(given.T @ given)
    fits = [_fitted(logits / temperature, labels, given, start, STEPS) for temperature in TEMPERATURES]
    best = int(np.argmax([likelihood for likelihood, _, _ in fits]))
    _, posterior, _ = _fitted(logits / TEMPERATURES[best], labels, given, fits[best][2], LAST_STEPS)
    wrong = 1 - posterior[np.arange(len(labels)), labels]
    return Noise(wrong, np.where(given > 0, -1, posterior).argmax(axis=1))


def _fitted(
    logits: np.ndarray, labels: np.ndarray, given: np.ndarray, confusion: np.ndarray, steps: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the mean log-likelihood, the probabilities of true classes (n, classes), and the confusion.

    `confusion` (classes, classes) has the probability of each given label (second axis) for each true class.
    """
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    for _ in range(steps):
        posterior = odds * confusion.T[labels]
        total = posterior.sum(axis=1, keepdims=True)
        posterior /= total
        confusion = _with_prior(posterior.T @ given)
    return float(np.log(total).mean()), posterior, confusion


def _with_prior(joint: np.ndarray) -> np.ndarray:
    """Return the confusion of a joint distribution (true, given) in images, drawn to equal errors by the prior."""
    classes = len(joint)
    right = np.eye(classes)
    errors = max(1 - np.trace(joint) / joint.sum(), 0.01)
    equal = right * (1 - errors) + (1 - right) * errors / max(classes - 1, 1)
    weighted = joint + PRIOR * joint.sum() / classes * equal
    return weighted / weighted.sum(axis=1, keepdims=True)

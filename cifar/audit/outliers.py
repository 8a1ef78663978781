"""Images that are least like all others of their data set."""

from __future__ import annotations

import numpy as np

NEIGHBORS = 10
REFERENCES = 5000
"""Images at most to whose features others are compared."""


def distances(features: np.ndarray, fold: np.ndarray, seed: int) -> np.ndarray:
    """Return the distance (n,) of each image to its neighbor number `NEIGHBORS`, 0 to 2: 1 less the cosine.

    The source of the score is Kuan and Mueller 2022, arXiv:2207.03061. Images are compared within their `fold` (n,), as
    `features` (n, d) of several folds are of several networks; there with a random sample of `REFERENCES`.
    """
    found = np.zeros(len(features))
    unit = features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-6)
    for number in np.unique(fold):
        rows = np.flatnonzero(fold == number)
        order = np.argsort(np.random.PCG64(seed).random_raw(len(rows)), kind="stable")
        reference = unit[rows[order[:REFERENCES]]]
        place = min(NEIGHBORS, len(reference) - 1)  # an image in the reference is its own first neighbor
        for start in range(0, len(rows), REFERENCES):
            block = rows[start : start + REFERENCES]
            similarity = unit[block] @ reference.T
            found[block] = 1 - np.partition(similarity, -1 - place, axis=1)[:, -1 - place]
    return found

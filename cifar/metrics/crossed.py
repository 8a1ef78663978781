"""Comparison of two recipes by several networks of each on the same images: a statement on new seeds and new images.

The networks of a recipe and the images are crossed random factors, as are readers and cases in studies of diagnostic
imaging; the networks are nested in their recipe. Gallas, "One-shot estimate of MRMC variance: AUC", 2006; Hillis, "A
marginal-mean ANOVA approach for analyzing multireader multicase radiological imaging data", 2014. A score is 1 for an
image that a network classifies correctly and 0 for another; any other numbers do as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from cifar.metrics.statistics import LEVEL, UNKNOWN, Interval, degrees_of_freedom

POWER = 0.9
"""Probability to find a difference as large as the one observed, with the number of seeds that would settle it."""
MANY = 1000
"""Seeds of each recipe; more are not counted."""


@dataclass(frozen=True)
class Spread:
    """Variances of the accuracy of `size` networks of one recipe, each of a single network.

    `over_seeds` is the sample's on these images. `by_images` is the part that the size of the test set explains, since
    networks disagree on single images: the variance if they erred independently (Jordan, "On the variance of neural
    network training with respect to test sets and distributions", 2023, arXiv 2304.01910, theorem 2).
    """

    size: int
    over_seeds: float
    by_images: float

    @property
    def beyond(self) -> float:
        """Estimated standard deviation of the accuracy on infinitely many images; 0 where nothing points to more."""
        return math.sqrt(max(0.0, self.over_seeds - self.by_images))


@dataclass(frozen=True)
class Difference:
    """Two recipes on the same `images`, each of several networks; `value` is the second's mean score less the first's.

    `interaction` is the variance of `value` over images that more networks cannot lower: single images suit one recipe
    better than the other.
    """

    value: float
    first: Spread
    second: Spread
    interaction: float
    images: int

    @property
    def variance(self) -> float:
        """Of `value`, over new seeds and new images."""
        return float((self._variances / self._sizes).sum()) + self.interaction

    @property
    def interval(self) -> Interval:
        """Confidence interval of `value`; NaN where all networks give the same answers."""
        if not self.variance > 0:
            return UNKNOWN
        reach = float(special.stdtrit(self._freedom, (1 + LEVEL) / 2)) * math.sqrt(self.variance)
        return Interval(self.value - reach, self.value + reach)

    @property
    def p(self) -> float:
        """Of a two-sided test that the recipes are equal."""
        if not self.variance > 0:
            return 1.0
        return float(2 * special.stdtr(self._freedom, -abs(self.value) / math.sqrt(self.variance)))

    @property
    def superiority(self) -> float:
        """Probability that, of one more network of each recipe, the second's is the better one on these images.

        After Bouthillier et al., "Accounting for variance in machine learning benchmarks", 2021 (arXiv 2103.03098), who
        call recipes different from 0.75 on. By the predictive t distribution of the difference: with few seeds it is
        nearer to 0.5.
        """
        variance = (self._variances * (1 + 1 / self._sizes)).sum()
        if not variance > 0:
            return 0.5 if self.value == 0 else float(self.value > 0)
        freedom = degrees_of_freedom(self._over_seeds * (1 + 1 / self._sizes), self._sizes)
        return float(special.stdtr(freedom, self.value / math.sqrt(variance)))

    @cached_property
    def seeds_to_settle(self) -> float:
        """Seeds of each recipe with which a difference such as this one would be found, with a probability of `POWER`.

        Infinite if more images are needed instead, or more than `MANY` seeds.
        """
        return seeds_to_settle(self.value, self._variances, self.interaction)

    @property
    def _sizes(self) -> np.ndarray:
        return np.array([self.first.size, self.second.size])

    @property
    def _over_seeds(self) -> np.ndarray:
        return np.array([self.first.over_seeds, self.second.over_seeds])

    @property
    def _variances(self) -> np.ndarray:
        """Of a single network of each recipe on these images: the sample's, unless the disagreement on images is more.

        So networks that agree in accuracy by chance do not seem to have no variance.
        """
        by_images = np.array([self.first.by_images, self.second.by_images])
        sizes = self._sizes
        return max(self._over_seeds, by_images, key=lambda variances: float((variances / sizes).sum()))

    @property
    def _freedom(self) -> float:
        return float(degrees_of_freedom(self._over_seeds / self._sizes, self._sizes, self.interaction))


def spread(scores: np.ndarray) -> Spread:
    """Variances of the mean scores of two or more networks; `scores` is (networks, images)."""
    networks, images = scores.shape
    own = scores.mean(axis=1)
    rest = scores - own[:, None] - scores.mean(axis=0) + scores.mean()
    disagreement = (rest**2).sum() / ((networks - 1) * (images - 1))
    return Spread(networks, float(own.var(ddof=1)), float(disagreement / images))


def expected_spread(accuracy: float, images: int) -> float:
    """Variance of the accuracy of one network over seeds to expect from the number of test images alone.

    Jordan 2023 (see `Spread`), theorem 3: err / 2n, for two classes and networks that are calibrated on average. For
    more classes it is a good approximation where errors are few.
    """
    return (1 - accuracy) / (2 * images)


def difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two recipes by the scores (networks, images) of two or more networks of each on the same images."""
    ours, theirs = spread(first), spread(second)
    by_image = second.mean(axis=0) - first.mean(axis=0)
    images = len(by_image)
    noise = ours.by_images / ours.size + theirs.by_images / theirs.size
    interaction = max(0.0, float(by_image.var(ddof=1)) / images - noise)
    return Difference(float(by_image.mean()), ours, theirs, interaction, images)


def seeds_to_settle(value: float, variances: np.ndarray, interaction: float) -> float:
    """As `Difference.seeds_to_settle`, from the `variances` (2,) of single networks and the `interaction`."""
    seeds = np.arange(2, MANY + 1)
    parts = variances[:, None] / seeds
    variance = parts.sum(axis=0) + interaction
    freedom = degrees_of_freedom(parts, np.stack([seeds, seeds]), interaction)
    needed = (special.stdtrit(freedom, (1 + LEVEL) / 2) + special.stdtrit(freedom, POWER)) * np.sqrt(variance)
    enough = np.flatnonzero((needed <= abs(value)) & (value != 0))
    return float(seeds[enough[0]]) if len(enough) else math.inf

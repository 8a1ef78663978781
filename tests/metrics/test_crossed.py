"""Comparison of recipes: simulated networks without a difference, and independent implementations on the same data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from cifar.metrics import crossed


def networks(rng, sizes, images, accuracy, seeds=(0.0, 0.0), interaction=0.0, gain=0.0):
    """Scores of networks of two recipes on common images: a list of two bool arrays (networks, images).

    A network is right where the image's difficulty, a part of its own for the recipe (`interaction`), the network's
    own (`seeds`) and noise, all normal, are below a bound. `gain` is the difference in accuracy, second less first.
    """
    difficulty, found = rng.standard_normal(images), []
    for size, spread, share in zip(sizes, seeds, (accuracy, accuracy + gain), strict=True):
        of_images = difficulty + interaction * rng.standard_normal(images)
        of_networks = spread * rng.standard_normal((size, 1)) + 0.6 * rng.standard_normal((size, images))
        bound = special.ndtri(share) * math.sqrt(1.36 + interaction**2 + spread**2)
        found.append(of_images + of_networks < bound)
    return found


def normal_scores():
    """Scores of three networks of each of two recipes on 20 images, in which all parts of the variance are clear."""
    rng = np.random.default_rng(3)
    image, common = rng.standard_normal((2, 20)), rng.standard_normal(20)
    seed, noise = 0.3 * rng.standard_normal((2, 3, 1)), 0.7 * rng.standard_normal((2, 3, 20))
    return np.array([0.0, 0.4])[:, None, None] + 0.5 * image[:, None] + common + seed + noise


class TestNull:
    @pytest.mark.parametrize(
        ("sizes", "images", "accuracy", "parts"),
        [
            ((2, 2), 300, 0.95, {}),
            ((3, 3), 300, 0.95, {"seeds": (0.1, 0.1)}),
            ((3, 3), 1000, 0.9, {"seeds": (0.1, 0.1), "interaction": 0.5}),
            ((5, 5), 300, 0.98, {"interaction": 0.5}),
            ((2, 5), 300, 0.9, {"seeds": (0.2, 0.0), "interaction": 0.3}),
        ],
    )
    def test_at_most_5_of_100_verdicts_are_false(self, sizes, images, accuracy, parts):
        rng = np.random.default_rng(0)
        drawn = [crossed.difference(*networks(rng, sizes, images, accuracy, **parts)) for _ in range(1000)]
        false = np.mean([found.p < 0.05 for found in drawn])
        assert false <= 0.05 + 0.007  # the simulation's error
        assert false == np.mean([not found.interval.low <= 0 <= found.interval.high for found in drawn])

    def test_welchs_test_over_seeds_alone_is_false_more_often_where_images_suit_one_recipe(self):
        rng = np.random.default_rng(0)
        drawn = [networks(rng, (5, 5), 300, 0.9, interaction=0.5) for _ in range(500)]
        accuracies = np.array([[scores.mean(axis=1) for scores in pair] for pair in drawn])
        p_values = stats.ttest_ind(accuracies[:, 0], accuracies[:, 1], axis=1, equal_var=False).pvalue
        assert np.mean(p_values < 0.05) > 0.1
        assert np.mean([crossed.difference(*pair).p < 0.05 for pair in drawn]) <= 0.05


class TestEffect:
    def test_interval_covers_a_difference_and_finds_a_great_one(self):
        rng, gain = np.random.default_rng(1), 0.04
        drawn = [crossed.difference(*networks(rng, (5, 5), 1000, 0.9, (0.05, 0.05), 0.3, gain)) for _ in range(400)]
        assert np.mean([found.interval.low <= gain <= found.interval.high for found in drawn]) >= 0.94
        assert np.mean([found.p < 0.05 for found in drawn]) > 0.9

    def test_superiority_is_the_share_of_new_networks_that_are_better(self):
        rng = np.random.default_rng(2)
        told, seen = [], []
        for _ in range(400):
            first, second = networks(rng, (6, 6), 400, 0.9, (0.05, 0.05), 0.2, 0.01)
            told.append(crossed.difference(first[:5], second[:5]).superiority)
            gain = second[5].mean() - first[5].mean()
            seen.append(0.5 if gain == 0 else gain > 0)
        assert np.mean(told) == pytest.approx(np.mean(seen), abs=0.05)
        clear = np.array(told) > 0.8
        assert np.mean(np.array(seen)[clear]) == pytest.approx(np.mean(np.array(told)[clear]), abs=0.08)

    def test_as_many_seeds_as_needed_find_the_difference(self):
        rng = np.random.default_rng(4)
        parts = {"seeds": (0.1, 0.1), "interaction": 0.1, "gain": 0.02}
        pilot = crossed.difference(*networks(rng, (40, 40), 2000, 0.9, **parts))
        seeds = int(pilot.seeds_to_settle)
        assert 3 <= seeds <= 20
        drawn = [crossed.difference(*networks(rng, (seeds, seeds), 2000, 0.9, **parts)) for _ in range(150)]
        assert np.mean([found.p < 0.05 for found in drawn]) == pytest.approx(crossed.POWER, abs=0.12)

    def test_more_seeds_do_not_settle_what_the_images_leave_open(self):
        assert crossed.seeds_to_settle(0.01, np.array([1e-6, 1e-6]), 0.0) < 5
        assert crossed.seeds_to_settle(0.01, np.array([1e-6, 1e-6]), 1e-4) == math.inf
        assert crossed.seeds_to_settle(0.0, np.array([1e-6, 1e-6]), 0.0) == math.inf


class TestAgainstOthers:
    def test_equals_a_mixed_model_fitted_by_maximum_likelihood(self):
        """statsmodels 0.15.0, by REML: MixedLM("y ~ g", data, groups=np.ones(len(data)), re_formula="0", vc_formula=
        {"image": "0 + C(image)", "own": "0 + C(image):C(g)", "seed": "0 + C(seed)"}).fit(), `seed` from 0 to 5.
        """
        found = crossed.difference(*normal_scores())
        assert found.value == pytest.approx(0.6446065520744689)
        assert math.sqrt(found.variance) == pytest.approx(0.36374213066210626, rel=1e-4)

    def test_variance_equals_a_parametric_bootstraps(self):
        """Networks drawn anew from the variances that are estimated by hand from the scores' mean squares."""
        scores = normal_scores()
        found = crossed.difference(*scores)
        _, networks_, images = scores.shape
        mean = scores.mean(axis=1)
        rest = (scores - mean[:, None] - scores.mean(axis=2, keepdims=True) + mean.mean(axis=1)[:, None, None]).ravel()
        noise = (rest**2).sum() / (2 * (networks_ - 1) * (images - 1))
        seed = scores.mean(axis=2).var(axis=1, ddof=1).mean() - noise / images
        own = (mean[1] - mean[0]).var(ddof=1) / 2 - noise / networks_
        rng, drawn = np.random.default_rng(0), []
        for _ in range(4000):
            image = math.sqrt(own) * rng.standard_normal((2, images))
            means = image + math.sqrt(noise / networks_) * rng.standard_normal((2, images))
            means += math.sqrt(seed / networks_) * rng.standard_normal((2, 1))
            drawn.append(means[1].mean() - means[0].mean())
        assert np.std(drawn) == pytest.approx(math.sqrt(found.variance), rel=0.03)

    def test_spread_by_images_is_that_of_independent_errors(self):
        rng = np.random.default_rng(5)
        chances = rng.beta(4, 0.4, 2000)
        scores = rng.random((50, 2000)) < chances
        found = crossed.spread(scores)
        assert found.by_images == pytest.approx((chances * (1 - chances)).sum() / 2000**2, rel=0.05)
        assert found.over_seeds == pytest.approx(found.by_images, rel=0.5)
        # Calibrated networks of two classes give a class as often as it is the label.
        chances = rng.beta(0.3, 0.3, 2000)
        label = rng.random(2000) < chances
        right = (rng.random((50, 2000)) < chances) == label
        expected = crossed.expected_spread(right.mean(), 2000)
        assert crossed.spread(right).by_images == pytest.approx(expected, rel=0.1)


class TestEdges:
    def test_networks_with_the_same_answers_do_not_differ(self):
        scores = np.tile(np.arange(20) % 4 > 0, (3, 1))
        found = crossed.difference(scores, scores)
        assert (found.value, found.p, found.superiority, found.seeds_to_settle) == (0, 1, 0.5, math.inf)
        assert all(map(math.isnan, found.interval))

    def test_equal_accuracies_by_chance_do_not_pass_for_certainty(self):
        rng = np.random.default_rng(6)
        first, second = ([rng.permutation(np.arange(100) < share) for _ in range(3)] for share in (90, 94))
        found = crossed.difference(np.array(first), np.array(second))
        assert found.first.over_seeds == found.second.over_seeds == 0 < found.variance
        assert 0 < found.p < 1 and 0.5 < found.superiority < 1

    @settings(deadline=None, max_examples=50)
    @given(st.integers(2, 4), st.integers(2, 4), st.integers(2, 9), st.integers(0, 1000))
    def test_is_its_mirror_the_other_way_round(self, one, other, images, seed):
        rng = np.random.default_rng(seed)
        first, second = rng.random((one, images)) < 0.7, rng.random((other, images)) < 0.7
        found, mirror = crossed.difference(first, second), crossed.difference(second, first)
        assert found.p == pytest.approx(mirror.p) and 0 <= found.p <= 1
        assert found.superiority == pytest.approx(1 - mirror.superiority)
        assert found.interval == pytest.approx((-mirror.interval.high, -mirror.interval.low), nan_ok=True)
        assert found.seeds_to_settle == mirror.seeds_to_settle

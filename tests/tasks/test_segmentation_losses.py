"""The losses of masks against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cifar.interfaces import VOID, Dataset, Split
from cifar.tasks.segmentation.task import segmentation
from helpers.masks import drawn, seeds, task


class TestLoss:
    def cross_entropy(self, truth, outputs, weights, gamma=0.0):
        losses = []
        for mask, probabilities in zip(truth, outputs.astype(float), strict=True):
            known = mask != VOID
            right = probabilities[known, mask[known]]
            each = np.array(weights)[mask[known]] * (1 - right) ** gamma * -np.log(right)
            losses.append(each.mean() if known.any() else 0)
        return np.mean(losses)

    def dice(self, truth, outputs, weights):
        losses = []
        for mask, probabilities in zip(truth, outputs.astype(float), strict=True):
            known = mask != VOID
            there = np.unique(mask[known])
            missed = [1 - 2 * probabilities[mask == k, k].sum() / ((mask == k).sum() + probabilities[known, k].sum())
                      for k in there]  # fmt: skip
            losses.append(np.average(missed, weights=np.array(weights)[there]) if len(there) else 0)
        return np.mean(losses)

    @given(drawn(), st.floats(0, 4))
    @settings(max_examples=30, deadline=None)
    def test_follows_its_formula(self, case, gamma):
        truth, outputs, weights = case
        expected = {
            "cross_entropy": self.cross_entropy(*case),
            "focal": self.cross_entropy(*case, gamma),
            "dice": self.dice(*case),
            "cross_entropy_dice": self.cross_entropy(*case) + self.dice(*case),
        }
        for name, value in expected.items():
            own = task(len(weights), loss=name, focal_gamma=gamma, class_weights=weights)
            found = float(own.loss()(own.encode({"mask": truth}), outputs))
            assert found == pytest.approx(value, rel=1e-4, abs=1e-5), name

    @given(drawn(), st.sampled_from(["cross_entropy", "focal", "dice", "cross_entropy_dice"]), seeds)
    @settings(max_examples=20, deadline=None)
    def test_void_has_no_part_in_it(self, case, name, seed):
        truth, outputs, weights = case
        loss = task(len(weights), loss=name, focal_gamma=2.0, class_weights=weights).loss()
        outputs = tf.constant(outputs)
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            value = loss(truth, outputs)
        gradient = np.asarray(tape.gradient(value, outputs))
        void = truth == VOID
        assert not gradient[void].any()
        assert np.isfinite(gradient).all()
        others = np.random.default_rng(seed).dirichlet(np.ones(len(weights)), truth.shape).astype("float32")
        assert float(loss(truth, np.where(void[..., None], others, outputs))) == float(value)

    @given(drawn(), st.sampled_from(["cross_entropy", "dice"]))
    @settings(max_examples=20, deadline=None)
    def test_parts_of_a_batch_weighted_by_images_make_the_whole(self, case, name):
        """Whatever is void in which part: so devices that share a batch, and batches of the test images, agree."""
        truth, outputs, weights = case
        assume(len(truth) > 1)
        loss = task(len(weights), loss=name, class_weights=weights).loss()
        first, rest = (float(loss(truth[part], outputs[part])) for part in (slice(1), slice(1, None)))
        whole = float(loss(truth, outputs))
        assert (first + (len(truth) - 1) * rest) / len(truth) == pytest.approx(whole, rel=1e-5, abs=1e-6)

    def test_a_pixel_that_is_wrong_for_certain_still_learns(self):
        with tf.GradientTape() as tape:
            tape.watch(logits := tf.constant([[[[0.0, 60.0]]]]))
            value = task(2).loss()(np.zeros((1, 1, 1)), tf.nn.softmax(logits))
        np.testing.assert_allclose(tape.gradient(value, logits), [[[[-1, 1]]]], rtol=1e-5)

    def test_balanced_weights_give_each_class_the_same_say(self):
        mask = np.repeat(np.uint8([0, 2, VOID]), [12, 4, 4]).reshape(1, 4, 5)
        split = Split(np.zeros((1, 4, 5, 1), np.uint8), {"mask": mask})
        data = Dataset("data", split, split, split, ("a", "b"))
        built = segmentation(data, head="unet", width=4, dropout=0.0, loss="dice", focal_gamma=0.0,
                             class_weights="balanced")  # fmt: skip
        assert built.class_weights == pytest.approx([16 / (2 * 12), 0, 16 / (2 * 4)])

"""The losses of detection against their papers in plain NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar.config.registry import LOSSES
from cifar.tasks.detection.losses import IGNORE, focal_loss, iou
from helpers.boxes import NAMES, built, iou_by_hand, random_boxes, random_split

BOX_LOSSES = LOSSES["detection"]


def loss_by_hand(kind, a, b) -> float:
    """Of the true box `a` and the found one `b`, as their papers write it, in plain numbers."""
    a, b = a.astype("float64"), b.astype("float64")
    if kind == "smooth_l1":
        size = math.sqrt((a[2] - a[0]) * (a[3] - a[1]))
        away = np.abs(a - b) / size
        return float(np.mean([0.5 * x * x / 0.1 if x < 0.1 else x - 0.05 for x in away]))
    overlap = iou_by_hand(a, b)
    left, top, right, bottom = min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
    if kind == "giou":
        hull = (right - left) * (bottom - top)
        either = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
        either /= 1 + overlap
        return 1 - overlap + (hull - either) / hull
    apart = sum(((a[k] + a[k + 2]) / 2 - (b[k] + b[k + 2]) / 2) ** 2 for k in (0, 1))
    loss = 1 - overlap + apart / ((right - left) ** 2 + (bottom - top) ** 2)
    if kind == "ciou":
        aspect = (
            4 / math.pi**2 * (math.atan((a[2] - a[0]) / (a[3] - a[1])) - math.atan((b[2] - b[0]) / (b[3] - b[1]))) ** 2
        )
        loss += aspect / (1 - overlap + aspect) * aspect if aspect else 0
    return loss


class TestLosses:
    @given(st.integers(0, 2**32 - 1), st.sampled_from(BOX_LOSSES.names()))
    @settings(deadline=None, max_examples=40)
    def test_of_boxes_are_those_of_the_papers(self, seed, kind):
        rng = np.random.default_rng(seed)
        true, found = random_boxes(rng, 5), random_boxes(rng, 5)
        found[0] = true[0]
        expected = [loss_by_hand(kind, *pair) for pair in zip(true, found, strict=True)]
        np.testing.assert_allclose(BOX_LOSSES.build({"name": kind})(true, found), expected, atol=2e-5)
        ious = [iou_by_hand(*pair) for pair in zip(true, found, strict=True)]
        np.testing.assert_allclose(iou(true, found), ious, atol=1e-5)

    @pytest.mark.parametrize("kind", BOX_LOSSES.names())
    def test_gradients_are_finite_also_of_boxes_without_extent(self, kind):
        true = tf.constant([[0, 0, 0, 0], [1, 1, 5, 5], [1, 1, 5, 5], [2, 2, 4, 4]], "float32")
        found = tf.Variable([[0, 0, 0, 0], [9, 9, 9, 9], [1, 1, 5, 5], [-100, -100, 500, 400]], dtype="float32")
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(BOX_LOSSES.build({"name": kind})(true, found))
        assert np.isfinite(tape.gradient(loss, found)).all()

    def test_focal_loss_by_hand(self):
        rng = np.random.default_rng(0)
        logits, wanted = rng.normal(0, 3, (4, 3)), rng.integers(0, 2, (4, 3))
        right = np.where(wanted, 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits)))
        expected = np.where(wanted, 0.25, 0.75) * (1 - right) ** 1.5 * -np.log(right)
        found = focal_loss(wanted.astype("float32"), logits.astype("float32"), 1.5, 0.25)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        plain = focal_loss(np.float32([[1, 0]]), np.float32([[90, -90]]), 0.5, 0.25)
        assert np.isfinite(plain).all() and np.all(plain == 0)

    @pytest.mark.parametrize("head", ["fcos", "box"])
    def test_a_batch_has_the_mean_loss_of_its_parts(self, head):
        """So that devices, and the last batch of an epoch, divide it rightly."""
        rng = np.random.default_rng(1)
        task = built(random_split(rng, 6, 1), head=head)
        split = random_split(rng, 6, 1)
        truth = task.encode(split.targets)
        channels = len(NAMES) + (5 if head == "fcos" else 4)
        outputs = rng.normal(0, 1, (*truth.shape[:-1], channels)).astype("float32")
        outputs[..., -4:] = np.exp(outputs[..., -4:]) * [1, 1, 20, 20]
        loss = task.loss()
        whole = float(loss(truth, outputs))
        parts = (2 * float(loss(truth[:2], outputs[:2])) + 4 * float(loss(truth[2:], outputs[2:]))) / 6
        assert whole == pytest.approx(parts, rel=1e-5)

    def test_nothing_is_learned_where_a_crowd_is(self):
        split = random_split(np.random.default_rng(2), 2, 3, crowd=1.0)
        task = built(split)
        truth = np.asarray(task.encode(split.targets))
        unsaid = truth[..., 0] == IGNORE
        assert unsaid.any() and (truth[..., 0] < 0).all()
        outputs = np.zeros((*truth.shape[:2], len(NAMES) + 5), "float32")
        before = float(task.loss()(truth, outputs))
        outputs[unsaid, : len(NAMES)] = 5
        assert float(task.loss()(truth, outputs)) == before
        outputs[~unsaid, : len(NAMES)] = 5
        assert float(task.loss()(truth, outputs)) > before

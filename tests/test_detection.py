"""Detection: geometry and losses against plain NumPy, truth that comes back, and COCO's figures."""

from __future__ import annotations

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY, composed
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cifar import boxes, config
from cifar.contracts import Dataset, Split
from cifar.errors import InputError
from cifar.registry import TASKS
from cifar.tasks import coco
from cifar.tasks.detection import Detection

NAMES = ("cat", "dog", "owl")
SIZE = (48, 64)


def task_settings(**changes) -> dict:
    return {**OmegaConf.to_container(composed("task=detection").task), **changes}


def dataset(split: Split) -> Dataset:
    return Dataset("given", split, split, split, NAMES)


def random_boxes(rng, *shape, least=4.0) -> np.ndarray:
    """float32 (*shape, 4): boxes within the image whose sides have at least so many pixels."""
    height, width = SIZE
    first = rng.uniform(0, [width - least, height - least], (*shape, 2))
    last = first + rng.uniform(least, np.maximum([width, height] - first, least + 1e-6))
    return np.concatenate([first, np.minimum(last, [width, height])], axis=-1).astype("float32")


def random_split(rng, count=3, objects=4, crowd=0.0) -> Split:
    classes = rng.integers(-1, len(NAMES), (count, objects))
    boxes_ = random_boxes(rng, count, objects) * (classes >= 0)[..., None]
    targets = {"boxes": boxes_.astype("float32"), "classes": classes,
               "crowd": (rng.random((count, objects)) < crowd) & (classes >= 0)}
    return Split(rng.integers(0, 256, (count, *SIZE, 3), np.uint8), targets)


def built(split: Split, **changes) -> Detection:
    return TASKS.build(task_settings(**changes), dataset=dataset(split))


def iou_by_hand(a, b) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = wide * high
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


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
        aspect = 4 / math.pi**2 * (math.atan((a[2] - a[0]) / (a[3] - a[1]))
                                   - math.atan((b[2] - b[0]) / (b[3] - b[1]))) ** 2
        loss += aspect / (1 - overlap + aspect) * aspect if aspect else 0
    return loss


class TestLosses:
    @given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(boxes.LOSSES)))
    @settings(deadline=None, max_examples=40)
    def test_of_boxes_are_those_of_the_papers(self, seed, kind):
        rng = np.random.default_rng(seed)
        true, found = random_boxes(rng, 5), random_boxes(rng, 5)
        found[0] = true[0]
        expected = [loss_by_hand(kind, *pair) for pair in zip(true, found, strict=True)]
        np.testing.assert_allclose(boxes.LOSSES[kind](true, found), expected, atol=2e-5)
        overlaps = [iou_by_hand(*pair) for pair in zip(true, found, strict=True)]
        np.testing.assert_allclose(boxes.iou(true, found), overlaps, atol=1e-5)

    @pytest.mark.parametrize("kind", sorted(boxes.LOSSES))
    def test_gradients_are_finite_also_of_boxes_without_extent(self, kind):
        true = tf.constant([[0, 0, 0, 0], [1, 1, 5, 5], [1, 1, 5, 5], [2, 2, 4, 4]], "float32")
        found = tf.Variable([[0, 0, 0, 0], [9, 9, 9, 9], [1, 1, 5, 5], [-100, -100, 500, 400]], dtype="float32")
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(boxes.LOSSES[kind](true, found))
        assert np.isfinite(tape.gradient(loss, found)).all()

    def test_focal_loss_by_hand(self):
        rng = np.random.default_rng(0)
        logits, wanted = rng.normal(0, 3, (4, 3)), rng.integers(0, 2, (4, 3))
        right = np.where(wanted, 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits)))
        expected = np.where(wanted, 0.25, 0.75) * (1 - right) ** 1.5 * -np.log(right)
        found = boxes.focal_loss(wanted.astype("float32"), logits.astype("float32"), 1.5, 0.25)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        plain = boxes.focal_loss(np.float32([[1, 0]]), np.float32([[90, -90]]), 0.5, 0.25)
        assert np.isfinite(plain).all() and np.all(plain == 0)

    @pytest.mark.parametrize("head", ["fcos", "box"])
    def test_a_batch_has_the_mean_loss_of_its_parts(self, head):
        """So that devices, and the last batch of an epoch, divide it rightly."""
        rng = np.random.default_rng(1)
        task = built(random_split(rng, 6, 1), head=head)
        split = random_split(rng, 6, 1)
        truth = task.encode(split.targets)
        outputs = rng.normal(0, 1, (*truth.shape[:-1], truth.shape[-1] + len(NAMES) - (head == "box"))).astype("float32")
        outputs[..., -4:] = np.exp(outputs[..., -4:]) * [1, 1, 20, 20]
        loss = task.loss()
        whole = float(loss(truth, outputs))
        parts = (2 * float(loss(truth[:2], outputs[:2])) + 4 * float(loss(truth[2:], outputs[2:]))) / 6
        assert whole == pytest.approx(parts, rel=1e-5)

    def test_nothing_is_learned_where_a_crowd_is(self):
        split = random_split(np.random.default_rng(2), 2, 3, crowd=1.0)
        task = built(split)
        truth = np.asarray(task.encode(split.targets))
        unsaid = truth[..., 0] == boxes.UNSAID
        assert unsaid.any() and (truth[..., 0] < 0).all()
        outputs = np.zeros((*truth.shape[:2], len(NAMES) + 5), "float32")
        before = float(task.loss()(truth, outputs))
        outputs[unsaid, : len(NAMES)] = 5
        assert float(task.loss()(truth, outputs)) == before
        outputs[~unsaid, : len(NAMES)] = 5
        assert float(task.loss()(truth, outputs)) > before


def perfect(truth: np.ndarray) -> np.ndarray:
    """What a model that knows the encoded targets of places would say."""
    number, distances = truth[..., 0].astype(int), truth[..., 1:]
    there = (number[..., None] == np.arange(len(NAMES))) * 40.0 - 20
    centre = np.asarray(boxes.centreness(distances))
    logit = np.where(number >= 0, 20 * centre + 1e-3, -20)
    return np.concatenate([there, logit[..., None], distances], axis=-1).astype("float32")


class TestRoundTrip:
    @given(st.integers(0, 2**32 - 1))
    @settings(deadline=None, max_examples=60)
    def test_truth_that_has_a_place_comes_back(self, seed):
        split = random_split(np.random.default_rng(seed))
        task = built(split, nms_iou=0.9)
        truth = np.asarray(task.encode(split.targets))
        found = task.predictions(perfect(truth))
        for image in range(len(split)):
            placed = {(int(row[0]), *np.round(row[1:3] + row[3:5], 1)) for row in truth[image] if row[0] >= 0}
            objects = [(k, box) for k, box in zip(split.targets["classes"][image], split.targets["boxes"][image],
                                                  strict=True) if k >= 0]  # fmt: skip
            detected = [(k, box) for k, box in zip(found["classes"][image], found["boxes"][image], strict=True) if k >= 0]
            for k, box in detected:
                assert any(k == other and np.allclose(box, true, atol=1e-3) for other, true in objects)
            for k, box in objects:
                if (k, *np.round(box[2:] - box[:2], 1)) in placed:
                    assert any(k == other and iou_by_hand(box, one) >= 0.9 for other, one in detected)

    @given(st.integers(0, 2**32 - 1))
    @settings(deadline=None, max_examples=60)
    def test_every_object_apart_from_others_has_a_place(self, seed):
        split = random_split(np.random.default_rng(seed), 5, 1)
        truth = np.asarray(built(split).encode(split.targets))
        has = (truth[..., 0] >= 0).any(axis=1)
        np.testing.assert_array_equal(has, split.targets["classes"][:, 0] >= 0)

    def test_of_overlapping_objects_the_smaller_is_learned(self):
        targets = {"boxes": np.float32([[[0, 0, 40, 40], [12, 12, 28, 28]]]), "classes": np.array([[0, 1]]),
                   "crowd": np.zeros((1, 2), bool)}
        split = Split(np.zeros((1, *SIZE, 3), np.uint8), targets)
        task = built(split)
        truth = np.asarray(task.encode(targets))[0]
        centres = task.head.grid.centres()
        strides = task.head.grid.of_level([4, 8, 16])
        inner = (np.abs(centres - 20) < 6).all(axis=1) & (strides == 4)
        assert inner.any() and (truth[inner, 0] == 1).all()
        assert (truth[:, 0] == 0).any()
        np.testing.assert_allclose(truth[inner, 1:3] + truth[inner, 3:5], 16)

    @given(st.integers(0, 2**32 - 1))
    @settings(deadline=None, max_examples=20)
    def test_one_box(self, seed):
        split = random_split(np.random.default_rng(seed), 6, 1)
        task = built(split, head="box")
        truth = np.asarray(task.encode(split.targets))
        logits = 30.0 * (truth[:, :1] == np.arange(len(NAMES)))
        found = task.predictions(np.concatenate([logits, truth[:, 1:]], axis=1).astype("float32"))
        there = split.targets["classes"][:, 0] >= 0
        np.testing.assert_array_equal(found["classes"][there, 0], split.targets["classes"][there, 0])
        np.testing.assert_allclose(found["boxes"][there], split.targets["boxes"][there], atol=1e-4)
        assert (found["scores"][there] > 0.99).all()

    def test_boxes_end_at_the_edge_of_the_image(self):
        split = random_split(np.random.default_rng(0))
        task = built(split)
        outputs = perfect(np.asarray(task.encode(split.targets)))
        outputs[..., -4:] = 500
        found = task.predictions(outputs)
        kept = found["boxes"][found["classes"] >= 0]
        assert len(kept) and (kept == [0, 0, SIZE[1], SIZE[0]]).all()

"""The scores of masks against NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from cifar.interfaces import VOID
from cifar.metrics.segmentation import boundary_f1, confusion, counts, mean, scores, tolerance
from cifar.tasks.segmentation.losses import MeanIoU
from cifar.tasks.segmentation.task import Segmentation
from helpers.masks import drawn, seeds, task


class TestScores:
    @given(drawn())
    @settings(max_examples=40, deadline=None)
    def test_are_those_of_scikit_learn(self, case):
        truth, outputs, weights = case
        classes, predicted = len(weights), task(len(weights)).predictions(outputs)["mask"]
        assert (predicted.dtype, predicted.shape) == (np.uint8, truth.shape)
        known = truth != VOID
        true, found = truth[known], predicted[known]
        matrix = sum(confusion(*pair, classes) for pair in zip(truth, predicted, strict=True))
        assert matrix.sum() == known.sum()
        if not known.any():
            return
        labels = np.arange(classes)
        np.testing.assert_array_equal(matrix, sk.confusion_matrix(true, found, labels=labels))
        np.testing.assert_array_equal(counts(truth, classes), np.bincount(true, minlength=classes))
        reference = {"iou": sk.jaccard_score, "dice": sk.f1_score, "precision": sk.precision_score,
                     "recall": sk.recall_score}  # fmt: skip
        for name, values in scores(matrix).items():
            said = ~np.isnan(values)
            expected = reference[name](true, found, labels=labels, average=None, zero_division=0)
            np.testing.assert_allclose(values[said], expected[said], err_msg=name)
            assert not expected[~said].any()

        seen = np.union1d(true, found)
        metrics = task(classes).metrics()
        for metric in metrics:
            for part in (slice(1), slice(1, None)):
                metric.update_state(truth[part].astype("float32"), outputs[part])
        streamed = {metric.name: float(metric.result()) for metric in metrics}
        assert tuple(streamed) == Segmentation.metric_names
        assert streamed["accuracy"] == pytest.approx(sk.accuracy_score(true, found), rel=1e-6)
        assert streamed["mean_iou"] == pytest.approx(sk.jaccard_score(true, found, labels=seen, average="macro"),
                                                     rel=1e-6)  # fmt: skip

    def test_without_a_pixel_there_is_nothing_to_say(self):
        metric = MeanIoU(3, "mean_iou")
        metric.update_state(np.full((1, 2, 2), VOID), np.ones((1, 2, 2, 3), "float32"))
        assert float(metric.result()) == 0
        assert np.isnan(mean(scores(np.zeros((3, 3), int))["iou"]))

    @given(seeds, st.sampled_from([0, 0.2]), st.sampled_from([(9, 11), (150, 150)]))
    @settings(max_examples=15, deadline=None)
    def test_boundary_f_is_that_of_all_pairs_of_pixels(self, seed, void, shape):
        random = np.random.default_rng(seed)
        coarse = random.integers(0, 3, (2, 3, 3), dtype=np.uint8)
        truth, predicted = (mask.repeat(-(-shape[0] // 3), 0).repeat(-(-shape[1] // 3), 1)[: shape[0], : shape[1]]
                            for mask in coarse)  # fmt: skip
        truth = truth.copy()
        truth[tuple(random.integers(0, side, int(void * truth.size)) for side in shape)] = VOID
        within = {9: 1, 150: 2}[shape[0]]
        assert tolerance(*shape) == within

        def edge(mask, k):
            own, other = mask == k, (mask != k) & (truth != VOID)
            beside = np.pad(other, 1)
            around = beside[:-2, 1:-1] | beside[2:, 1:-1] | beside[1:-1, :-2] | beside[1:-1, 2:]
            return np.argwhere(own & around & (truth != VOID))

        for k, value in enumerate(boundary_f1(truth, predicted, 4)):
            true, found = edge(truth, k), edge(predicted, k)
            if not len(true) or not len(found):
                assert value == 0 if len(true) or len(found) else np.isnan(value)
                continue
            apart = np.hypot(*(true[:, None] - found[None]).transpose(2, 0, 1))
            precision, recall = (apart.min(axis=0) <= within).mean(), (apart.min(axis=1) <= within).mean()
            expected = 2 * precision * recall / (precision + recall) if precision else 0
            assert value == pytest.approx(expected)

    def test_a_boundary_a_pixel_beside_is_met_at_64_pixels_and_one_two_beside_is_not(self):
        truth = np.zeros((64, 64), np.uint8)
        truth[20:40, 20:40] = 1
        found = [boundary_f1(truth, np.roll(truth, shift, axis=1), 2)[1] for shift in (1, 2)]
        assert found[0] == 1
        assert found[1] < 0.6

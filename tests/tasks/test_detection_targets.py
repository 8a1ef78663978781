"""Encoded boxes: truth that comes back, and COCO's figures of predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cifar.interfaces import Split
from cifar.metrics import detection
from cifar.tasks.detection.losses import centerness
from helpers.boxes import NAMES, SIZE, built, iou_by_hand, random_boxes, random_split


def perfect(truth: np.ndarray) -> np.ndarray:
    """What a model that knows the encoded targets of places would say."""
    number, distances = truth[..., 0].astype(int), truth[..., 1:]
    there = (number[..., None] == np.arange(len(NAMES))) * 40.0 - 20
    center = np.asarray(centerness(distances))
    logit = np.where(number >= 0, 20 * center + 1e-3, -20)
    return np.concatenate([there, logit[..., None], distances], axis=-1).astype("float32")


class TestRoundTrip:
    @given(st.integers(0, 2**32 - 1))
    @settings(deadline=None, max_examples=60)
    def test_truth_that_has_a_place_comes_back(self, seed):
        split = random_split(np.random.default_rng(seed))
        task = built(split, nms_iou_threshold=0.9)
        truth = np.asarray(task.encode(split.targets))
        found = task.predictions(perfect(truth))
        for image in range(len(split)):
            placed = {(int(row[0]), *np.round(row[1:3] + row[3:5], 1)) for row in truth[image] if row[0] >= 0}
            objects, detected = (
                [(k, box) for k, box in zip(one["classes"][image], one["boxes"][image], strict=True) if k >= 0]
                for one in (split.targets, found)
            )
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
        targets = {
            "boxes": np.float32([[[0, 0, 40, 40], [12, 12, 28, 28]]]),
            "classes": np.array([[0, 1]]),
            "crowd": np.zeros((1, 2), bool),
        }
        split = Split(np.zeros((1, *SIZE, 3), np.uint8), targets)
        task = built(split)
        truth = np.asarray(task.encode(targets))[0]
        centers = task.head.grid.locations()
        strides = task.head.grid.of_level([4, 8, 16])
        inner = (np.abs(centers - 20) < 6).all(axis=1) & (strides == 4)
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


def random_predictions(rng, split, count=6) -> dict[str, np.ndarray]:
    """Some of them near objects, the others anywhere; some absent."""
    shape = (len(split), count)
    found = random_boxes(rng, *shape)
    objects = min(count, split.targets["boxes"].shape[1])
    near = split.targets["boxes"][:, :objects] + rng.normal(0, 2, (len(split), objects, 4))
    found[:, :objects] = np.where(split.targets["classes"][:, :objects, None] >= 0, near, found[:, :objects])
    classes = rng.integers(-1, len(NAMES), shape)
    hit = rng.random((len(split), objects)) < 0.7
    classes[:, :objects] = np.where(hit, split.targets["classes"][:, :objects], classes[:, :objects])
    return {"boxes": found.astype("float32"), "classes": classes, "scores": rng.random(shape).astype("float32")}


class TestEvaluation:
    def judged_apart(self, split, results, folder) -> dict[str, float]:
        """What pycocotools says of files that are written without our help."""
        there = split.targets["classes"] >= 0
        annotations = [
            {"id": 100 + number, "image_id": int(i), "category_id": int(split.targets["classes"][i, j]) + 1,
             "bbox": [*map(float, box[:2]), *map(float, box[2:] - box[:2])], "area": float(np.prod(box[2:] - box[:2])),
             "iscrowd": int(split.targets["crowd"][i, j])}
            for number, (i, j) in enumerate(np.argwhere(there)) for box in [split.targets["boxes"][i, j]]
        ]  # fmt: skip
        truth = {"images": [{"id": i} for i in range(len(split))], "annotations": annotations,
                 "categories": [{"id": k + 1} for k in range(len(NAMES))]}  # fmt: skip
        (folder / "truth.json").write_text(json.dumps(truth))
        (folder / "results.json").write_text(json.dumps(results))
        coco_truth = COCO(str(folder / "truth.json"))
        evaluation = COCOeval(coco_truth, coco_truth.loadRes(str(folder / "results.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        names = ("map", "map50", "map75", "map_small", "map_medium", "map_large")
        return {**dict(zip(names, evaluation.stats[:6], strict=True)), "ar100": evaluation.stats[8]}

    @pytest.mark.parametrize("seed", range(3))
    def test_figures_are_pycocotools_of_the_written_predictions(self, seed, tmp_path):
        rng = np.random.default_rng(seed)
        split = random_split(rng, 30, crowd=0.2)
        evaluation = built(split).evaluate(random_predictions(rng, split), split)
        expected = self.judged_apart(split, evaluation.tables["predictions.json"], tmp_path)
        assert 0 < expected["map"] < expected["map50"] < 1
        for name, value in expected.items():
            assert evaluation.metrics.get(name, -1) == pytest.approx(value, abs=1e-6), name
        rows = evaluation.tables["average_precision.csv"]
        assert np.mean([row["ap"] for row in rows]) == pytest.approx(expected["map"], abs=1e-5)
        counted = (split.targets["classes"] >= 0) & ~split.targets["crowd"]
        assert sum(row["objects"] for row in rows) == counted.sum()

    def test_truth_is_perfect_and_nothing_is_worthless(self):
        split = random_split(np.random.default_rng(3), 12)
        scores = np.ones(split.targets["classes"].shape, "float32")
        best = built(split).evaluate({**split.targets, "scores": scores}, split)
        assert {round(value, 9) for name, value in best.metrics.items() if name != "ar100"} == {1.0}
        nothing = {**split.targets, "scores": scores, "classes": np.full_like(split.targets["classes"], -1)}
        worst = built(split).evaluate(nothing, split)
        assert set(worst.metrics.values()) == {0.0}
        assert worst.tables["predictions.json"] == []
        pictures = [draw() for evaluation in (best, worst) for draw in evaluation.figures.values()]
        assert len(pictures) == 6 and all(isinstance(picture, Figure) for picture in pictures)

    def test_of_one_box_there_are_accuracy_and_iou(self):
        rng = np.random.default_rng(4)
        split = random_split(rng, 40, 1)
        found = random_predictions(rng, split, 1)
        there = split.targets["classes"][:, 0] >= 0
        metrics = built(split, head="box").evaluate(found, split).metrics
        ious = [iou_by_hand(*pair) for pair in zip(split.targets["boxes"][there, 0], found["boxes"][there, 0],
                                                       strict=True)]  # fmt: skip
        assert metrics["iou"] == pytest.approx(np.mean(ious), abs=1e-5)
        assert metrics["accuracy"] == np.mean(split.targets["classes"][there] == found["classes"][there])

    def test_confusion_and_quality_by_hand(self):
        targets = {
            "boxes": np.float32([[[0, 0, 10, 10], [20, 20, 40, 40], [44, 4, 60, 16]], [[0, 0, 8, 8]] * 3]),
            "classes": np.array([[0, 1, 2], [-1, -1, -1]]),
            "crowd": np.array([[False, False, True], [False] * 3]),
        }
        split = Split(np.zeros((2, *SIZE, 3), np.uint8), targets)
        found = {
            # right; of another class; in the crowd; second on the same object; the same in another class; unsure; and
            # one where nothing is
            "boxes": np.float32([[[0, 0, 10, 8], [20, 20, 40, 40], [45, 5, 50, 10], [0, 0, 10, 5], [20, 20, 40, 39],
                                  [20, 20, 40, 40]], [[5, 5, 15, 15], *[[0, 0, 1, 1]] * 5]]),
            "classes": np.array([[0, 2, 2, 0, 1, 1], [1, -1, -1, -1, -1, -1]]),
            "scores": np.float32([[0.9, 0.8, 0.7, 0.6, 0.5, 0.1], [0.9, 0, 0, 0, 0, 0]]),
        }  # fmt: skip
        matches = detection.match(built(split).answers(found), split, len(NAMES))
        np.testing.assert_array_equal(matches.matrix, [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]])
        np.testing.assert_allclose(matches.quality, [2 * 0.8 / 5, 0])
        answers = built(split).decode(found)
        assert [one["class"] for one in answers[0]] == ["cat", "owl", "owl", "cat"]
        assert answers[0][0] == {"class": "cat", "score": pytest.approx(0.9), "box": [0, 0, 10, 8]}
        drawn = built(split).draw(split.images[0], {name: values[0] for name, values in found.items()})
        assert drawn.dtype == np.uint8 and drawn.any()

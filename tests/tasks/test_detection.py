"""Detection: geometry and losses against plain NumPy, truth that comes back, and COCO's figures."""

from __future__ import annotations

import functools
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cifar import tracking
from cifar.config.registry import LOSSES, MODELS, TASKS
from cifar.interfaces import Dataset, Evaluation, Split
from cifar.metrics import detection
from cifar.nn import layers
from cifar.tasks.detection.fpn import map_size, pyramid
from cifar.tasks.detection.losses import IGNORE, centerness, focal_loss, iou
from cifar.tasks.detection.task import Detection
from cifar.training import checkpoint_file
from cifar.training.experiment import Experiment, _last_layers
from helpers.models import backbone, small
from helpers.runs import composed, sqlite

NAMES = ("cat", "dog", "owl")
SIZE = (48, 64)
BOX_LOSSES = LOSSES["detection"]


@functools.cache
def task_settings() -> dict:
    return OmegaConf.to_container(composed("task=detection").task)


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
    targets = {
        "boxes": boxes_.astype("float32"),
        "classes": classes,
        "crowd": (rng.random((count, objects)) < crowd) & (classes >= 0),
    }
    return Split(rng.integers(0, 256, (count, *SIZE, 3), np.uint8), targets)


def built(split: Split, **changes) -> Detection:
    return TASKS.build({**task_settings(), **changes}, dataset=dataset(split))


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


@pytest.mark.parametrize("name", [*MODELS.names(), "airbench model.whitening_padding=valid"])
def test_every_backbone_has_every_level(name):
    """Also one that resizes images, and one that does not pad them."""
    name, *more = name.split()
    image = (33, 40)
    features = backbone(*small(name), *more, shape=(*image, 3))
    levels = [1, 2, 4]
    maps = pyramid(features, levels, 8)
    assert [x.shape for x in maps] == [(None, *map_size(image, level), 8) for level in levels]
    used = {id(layer) for layer in keras.Model(features.input, maps).layers}
    assert {layer.name for layer in features.layers if id(layer) not in used and layer.weights} == set()


BACKBONES = ["cnn3", "resnet", "cct", "vgg"]


def experiment(compose, name, *overrides) -> Experiment:
    return Experiment.prepare(compose(
        "task=detection", "data=scenes", "data@data.source=digits", "data.size=32", "data.num_train=32",
        "data.num_val=8", "data.num_test=8", *small(name), "task.fpn_channels=16",
        "task.head_depth=1", "augmentation=none", *overrides))  # fmt: skip


@pytest.mark.parametrize(("name", "head"), [*((name, "fcos") for name in BACKBONES), ("cnn3", "box"), ("cct", "box")])
def test_backbone_trains_a_step_and_is_saved_and_carried_elsewhere(name, head, compose, tmp_path):
    prepared = experiment(compose, name, f"task.head={head}", f"data.objects={1 if head == 'box' else 3}")
    model, train = prepared.compiled_model(), prepared.dataset.train
    model.run_eagerly = True
    kernels = [weight for weight in model.trainable_weights if len(weight.shape) > 1]
    before = [weight.numpy() for weight in kernels]
    logs = model.train_on_batch(train.images, prepared.task.encode(train.targets), return_dict=True)
    assert set(logs) == {"loss", *prepared.task.metric_names} and all(map(math.isfinite, logs.values()))
    assert all((old != new.numpy()).any() for old, new in zip(before, kernels, strict=True))
    last = {"class_logits", "edges", "centre_logit" if head == "fcos" else "share_logit"}
    assert _last_layers(model) == last

    expected = model.predict_on_batch(train.images)
    assert expected.dtype == np.float32
    layers.portable(model).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert {type(operation).__module__.split(".")[0] for operation in loaded.operations} == {"keras"}
    np.testing.assert_allclose(loaded(train.images), expected, atol=1e-4)

    model.save_weights(tmp_path / "model.weights.h5")
    other = backbone(*small(name), shape=prepared.dataset.image_shape)
    alone = keras.Model(other.input, other.output[max(other.output, key=lambda level: int(level[1:]))])
    alone.load_weights(tmp_path / "model.weights.h5")  # as model=from_run does
    trained = [weight for layer in model.layers[: len(alone.layers)] for weight in layer.weights]
    for weight, other_weight in zip(alone.weights, trained, strict=True):
        np.testing.assert_array_equal(weight, other_weight)


def test_outputs_are_float32_in_bfloat16(compose):
    policy = keras.config.dtype_policy()
    try:
        prepared = experiment(compose, "cnn3", "precision=mixed_bfloat16")
        model, train = prepared.compiled_model(), prepared.dataset.train
        model.run_eagerly = True
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.output.dtype == "float32"
    assert {layer.compute_dtype for layer in model.layers if layer.name.startswith("conv2d")} == {"bfloat16"}
    targets = prepared.task.encode(train.targets)
    losses = [model.train_on_batch(train.images, targets, return_dict=True)["loss"] for _ in range(5)]
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_backbone_learns_32_scenes_by_heart(name, compose):
    prepared = experiment(
        compose, name, "data.size=48", "optimizer.lr=3e-3", "schedule=constant", "task.fpn_channels=32"
    )
    model, train = prepared.compiled_model(), prepared.dataset.train
    targets = prepared.task.encode(train.targets)
    for _ in range(10):
        for _ in range(60):
            model.train_on_batch(train.images, targets)
        found = prepared.task.predictions(model.predict(train.images, verbose=0))
        score = detection.evaluate(
            detection.results(found), detection.truth(train, prepared.dataset.class_names)
        ).metrics["map50"]
        if score >= 0.95:
            return
    pytest.fail(f"map50 is {score}")


RUN = ("task=detection", "data=scenes", "data@data.source=digits", "data.size=32", "data.num_train=40",
       "data.num_val=8", "data.num_test=8", "model=cnn3", "model.filters=[4,8]", "task.fpn_channels=8",
       "task.head_depth=1", "batch_size=16", "augmentation=[rotation,flip,brightness]", "weight_averaging=ema",
       "epochs=3")  # fmt: skip


@pytest.mark.slow  # three whole runs
def test_an_interrupted_run_goes_on_to_the_bit(in_process, tmp_path, monkeypatch):
    """Ended right after a state within the second epoch was saved; compared with one that nothing disturbed."""
    real, saves = checkpoint_file.save, []

    def save(saved, folder):
        real(saved, folder)
        saves.append((saved.epoch, saved.step))
        if saves[-1] == (1, 2):
            raise KeyboardInterrupt

    def tags_of(store):
        tracking.connect(sqlite(store))
        (run,) = [run for run in tracking.queries.search_runs() if "settings_sha256" in run.tags]
        history = tracking.queries.history(run, [name for name in run.metrics if name != "images_per_second"])
        return run.tags["weights_sha256"], history

    undisturbed, disturbed = (f"tracking.uri={sqlite(tmp_path / name)}" for name in ("undisturbed", "disturbed"))
    assert in_process(*RUN, undisturbed).code == 0
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_file, "save", save)
        assert in_process(*RUN, "state.minutes=1e-6", disturbed).code == 130
    done = in_process(*RUN, "state.minutes=1e-6", "resume=auto", disturbed)
    assert done.code == 0 and "epoch 1/3" not in done.stdout
    assert tags_of(tmp_path / "disturbed") == tags_of(tmp_path / "undisturbed")


def test_runs_are_listed_and_compared_by_their_own_metrics(compose, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = []
    for lr, score in ((1e-3, 0.25), (1e-2, 0.75)):
        prepared = experiment(compose, "cnn3", f"optimizer.lr={lr}")
        tracking.connect(sqlite(tmp_path))
        with tracking.start(prepared.settings.tracking) as run:
            run.log_settings(prepared.settings)
            run.log_dataset(prepared.dataset)
            run.log_metrics({"train/loss": 1.0, "val/loss": 2.0, "val/iou": score}, step=1)
            run.log_evaluation(Evaluation({"map": score, "loss": 1.0}, {"predictions.json": []}), "test")
            ids.append(run.id)
    listed = command(sqlite(tmp_path), "runs").stdout.splitlines()
    assert "test/map" in listed[0] and "0.75" in listed[1] and "0.25" in listed[2]
    done = command(sqlite(tmp_path), "compare", *ids)
    assert (done.code, done.stderr) == (0, "")
    assert "test/map" in done.stdout and "0.75" in done.stdout and "McNemar" not in done.stdout
    assert "The runs do not name a class an image: nothing is tested" in done.stdout
    assert "optimizer.lr" in (tmp_path / "comparison.html").read_text()


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["fill_mode=wrap"], "fill_mode=wrap: shows objects again, of which there are no boxes; task=detection takes "),
        (
            ["augmentation=[mixup]"],
            "augmentation.mixup: task=detection has targets with positions in the image, so that images ",
        ),
        (["augmentation=[cutmix]"], "augmentation.cutmix: task=detection has targets with positions"),
        (
            ["evaluate.tta=flip"],
            "evaluate.tta=flip: task=detection has targets with positions in the image, so that views cannot",
        ),
        (["task.head=box"], "task.head=box: detects one object per image, but data=digits_scenes has up to 3; "),
        (["data=digits"], "data=digits: its images have no boxes, which this task needs; they have label"),
        (["task.levels=[3,2]"], "task.levels=[3, 2]: should be in ascending order without repetition"),
        (["task.box_loss=iou"], "task.box_loss=iou: should be 'ciou', 'diou', 'giou' or 'smooth_l1'"),
        (["task.score_threshold=0.01"], "task.score_threshold=0.01: should be greater than or equal to 0.05"),
        (["task.head_dept=1"], "task.head_dept=1: unknown setting; did you mean 'head_depth'?"),
        (["callbacks.checkpoint.monitor=val/map"], "callbacks.checkpoint.monitor=val/map: never logged; "),
    ],
)
def test_refused(mistake, overrides, line):
    tiny = ["data=scenes", "data@data.source=digits", "data.size=32", "data.limit=9"]
    scenes = [] if "data=digits" in overrides else tiny
    assert mistake("task=detection", *scenes, *overrides).startswith(line)

"""Segmentation: every decoder on several backbones, and what a run records."""

from __future__ import annotations

import json
from itertools import product

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from pycocotools import mask as coco
from sklearn import metrics as sk

from cifar.config.compose import resolve
from cifar.config.registry import MODELS
from cifar.interfaces import VOID, Split
from cifar.nn import layers
from cifar.runtime.errors import InputError
from cifar.runtime.paths import ROOT
from cifar.tasks.segmentation import decoders
from cifar.tracking import queries
from cifar.training import trainer
from cifar.training.experiment import Experiment
from helpers.processes import run_python
from helpers.runs import composed, finished_run, metric_history, sqlite, weight_arrays

SCENES = ("task=segmentation", "data=scenes", "data@data.source=digits", "data.size=32", "data.num_train=32",
          "data.num_val=8", "data.num_test=8", "augmentation=none", "batch_size=16", "epochs=1")  # fmt: skip


BACKBONES = {
    "cnn3": ["model=cnn3", "model.filters=[8,16]", "model.dropout=0"],
    "resnet": ["model=resnet", "model.depth=8", "model.filters=[8,16,32]"],
    "cct": ["model=cct", "model.embed_dim=16", "model.mlp_dim=16", "model.depth=1", "model.stochastic_depth=0"],
    "vgg": ["model=vgg", "model.depth=11", "model.filters=[8,8,16,16,16]"],
}  # fmt: skip


TINY = BACKBONES["cnn3"]
HEADS = ("unet", "deeplab")


@pytest.fixture
def prepare(compose):
    """prepare(*overrides): an experiment on scenes of digits; the global dtype policy is put back afterwards."""
    policy = keras.config.dtype_policy()
    yield lambda *overrides: Experiment.prepare(compose(*SCENES, *overrides))
    keras.config.set_dtype_policy(policy)


class TestModel:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "head"), [*((name, "unet") for name in BACKBONES), ("cnn3", "deeplab"), ("cct", "deeplab")]
    )
    def test_answers_for_each_pixel_trains_a_step_and_is_carried_elsewhere(self, prepare, tmp_path, name, head):
        prepared = prepare(*BACKBONES[name], f"task.head={head}", "task.width=4")
        model = prepared.model()
        assert model.output_shape == (None, 32, 32, 11)
        first = prepared.dataset.train.take(np.arange(4))
        targets = prepared.task.encode(first.targets)
        optimizer, loss = keras.optimizers.Adam(1e-2), prepared.task.loss()
        model.compile(optimizer, loss, metrics=prepared.task.metrics(), run_eagerly=True)
        before = [weight.numpy() for weight in model.trainable_weights]
        logs = model.train_on_batch(first.images, targets, return_dict=True)
        assert set(logs) == {"loss", *prepared.task.metric_names}
        assert all(map(np.isfinite, logs.values()))
        still = [weight.path for old, weight in zip(before, model.trainable_weights, strict=True)
                 if np.array_equal(old, weight)]  # fmt: skip
        assert not still

        expected = model(first.images)
        np.testing.assert_allclose(np.sum(expected, axis=-1), 1, rtol=1e-5)
        portable = layers.portable(model)
        portable.save(tmp_path / "model.keras")
        np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(first.images), expected, atol=1e-5)
        model.save_weights(tmp_path / "model.weights.h5")
        again = prepared.model()
        again.load_weights(tmp_path / "model.weights.h5")
        np.testing.assert_array_equal(again(first.images), expected)

    @pytest.mark.parametrize("head", HEADS)
    @pytest.mark.parametrize(
        ("overrides", "side"),
        [
            (["model=airbench", "model.widths=[4,8]", "model.whitening_padding=valid"], 32),  # maps of 15 and 7 pixels
            (["model=convmixer", "model.width=8", "model.depth=1", "model.kernel_size=3"], 32),  # one map alone
            (["model=cnn", "model.blocks=[{filters:4}]"], 16),  # one map, of the image's own size
            (["model=resnet", "model.depth=8", "model.filters=[4,4,4]"], 17),  # 17, 9 and 5 pixels
        ],
    )
    def test_takes_any_pyramid(self, prepare, overrides, side, head):
        prepared = prepare(*overrides, f"task.head={head}", "task.width=4", f"data.size={side}", "data.min_scale=0.3")
        model = prepared.model()
        assert model(prepared.dataset.train.images[:2]).shape == (2, side, side, 11)

    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "head"), [*((name, "unet") for name in BACKBONES), ("cnn3", "deeplab")])
    def test_its_backbone_may_begin_another_model(self, prepare, tmp_path, name, head):
        prepared = prepare(*BACKBONES[name], f"task.head={head}", "task.width=4")
        prepared.model().save_weights(tmp_path / "model.weights.h5")
        model = prepared.settings.model.model_dump()
        runtime = {"image_shape": prepared.dataset.image_shape, "train_images": prepared.dataset.train.images}
        started = MODELS.build({"name": "from_run", "run": "abc", "model": model, "freeze": "none"}, **runtime,
                               start=lambda run: tmp_path / "model.weights.h5")  # fmt: skip
        trained = MODELS.build(model, **runtime, start=None)
        whole = prepared.task.model(trained)
        whole.load_weights(tmp_path / "model.weights.h5")
        for own, expected in zip(started.weights, trained.weights, strict=True):
            np.testing.assert_array_equal(own, expected, err_msg=own.path)

    def test_pixels_that_are_repeated_lie_where_those_were_that_they_came_of(self):
        for side in (16, 17):
            image = keras.Input((side, side, 1))
            small = keras.layers.MaxPooling2D(2, padding="same")(image)
            repeated = keras.Model(image, decoders._repeated(small, (side, side)))
            picture = np.random.default_rng(0).random((1, side, side, 1)).astype("float32")
            found = np.asarray(repeated(picture))[0, ..., 0]
            for y, x in np.ndindex(side, side):
                block = picture[0, y // 2 * 2 : y // 2 * 2 + 2, x // 2 * 2 : x // 2 * 2 + 2]
                assert found[y, x] == block.max()

    def test_atrous_rates_are_those_of_the_paper_on_its_maps(self):
        def rates(side):
            image = keras.Input((side, side, 3))
            model = keras.Model(image, decoders._pooled(image, 4))
            return [layer.dilation_rate[0] for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]

        assert rates(33) == [6, 12, 18]
        assert rates(16) == [3, 6, 9]
        assert rates(2) == [1]

    def test_precision_is_that_of_the_hidden_layers_only(self, prepare):
        for head in HEADS:
            model = prepare(*TINY, "precision=mixed_bfloat16", f"task.head={head}").model()
            convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
            assert {layer.compute_dtype for layer in convolutions[:-1]} == {"bfloat16"}
            assert model.output.dtype == "float32"

    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "head"), [*product(BACKBONES, HEADS)])
    def test_learns_32_scenes_by_heart(self, prepare, name, head):
        prepared = prepare(*BACKBONES[name], f"task.head={head}", "task.dropout=0", "task.loss=cross_entropy_dice")
        model, train = prepared.model(), prepared.dataset.train
        optimizer, loss = keras.optimizers.Adam(1e-2), prepared.task.loss()
        model.compile(optimizer, loss, metrics=prepared.task.metrics(), jit_compile=False)
        targets = prepared.task.encode(train.targets)
        for _ in range(300):
            model.reset_metrics()
            if model.train_on_batch(train.images, targets, return_dict=True)["mean_iou"] >= 0.9:
                return
        pytest.fail("does not learn 32 scenes by heart")


@pytest.fixture(scope="module")
def tested():
    """An experiment with its model as it is at first, and the evaluation of that on the test images."""
    prepared = Experiment.prepare(resolve(composed(*SCENES, *TINY)))
    model = prepared.model()
    return prepared, model, trainer.test(prepared, model)


class TestRun:
    def test_metrics_are_those_of_all_pixels(self, tested):
        prepared, model, evaluation = tested
        truth = prepared.dataset.test.targets["mask"]
        outputs = model.predict(prepared.dataset.test.images, verbose=0)
        predicted = outputs.argmax(axis=-1)
        flat = truth.ravel(), predicted.ravel()
        seen = np.union1d(*flat)
        metrics = evaluation.metrics
        assert list(metrics) == ["loss", "accuracy", "mean_iou", "dice", "boundary_f1", "foreground_iou"]
        expected = {
            "loss": -np.log(np.take_along_axis(outputs, truth[..., None].astype(int), axis=-1)).mean(),
            "accuracy": sk.accuracy_score(*flat),
            "mean_iou": sk.jaccard_score(*flat, labels=seen, average="macro"),
            "dice": sk.f1_score(*flat, labels=seen, average="macro"),
            "foreground_iou": sk.jaccard_score(truth.ravel() > 0, predicted.ravel() > 0),
        }
        for name, value in expected.items():
            assert metrics[name] == pytest.approx(value, rel=1e-5), name
        assert 0 <= metrics["boundary_f1"] <= 1

    @pytest.mark.slow
    def test_tables_and_pictures(self, tested):
        prepared, _, evaluation = tested
        rows = evaluation.tables["per_class.csv"]
        assert [row["class"] for row in rows] == ["background", *prepared.dataset.class_names]
        assert sum(row["support"] for row in rows) == prepared.dataset.test.targets["mask"].size
        assert len(evaluation.tables["per_class.txt"].splitlines()) == 12
        names = [(row["index"], row["image"]) for row in evaluation.tables["images.csv"]]
        assert names == [(k, prepared.dataset.test.name(k)) for k in range(8)]
        pictures = ["confusion_matrix", "per_class", "masks_best", "masks_worst", "masks_random"]
        assert list(evaluation.figures) == pictures
        assert all(isinstance(draw(), Figure) for draw in evaluation.figures.values())

    def test_all_background_is_worth_what_it_is(self, tested):
        prepared, *_ = tested
        truth = prepared.dataset.test.targets["mask"]
        metrics = prepared.task.evaluate({"mask": np.zeros_like(truth)}, prepared.dataset.test).metrics
        share, classes = (truth == 0).mean(), len(np.unique(truth))
        assert metrics == pytest.approx({
            "accuracy": share, "mean_iou": share / classes, "dice": 2 * share / (1 + share) / classes,
            "boundary_f1": 0, "foreground_iou": 0,
        })  # fmt: skip

    def test_what_is_void_counts_for_nothing(self, tested):
        prepared, *_ = tested
        split = prepared.dataset.test
        predicted = np.random.default_rng(0).integers(0, 11, split.targets["mask"].shape, dtype=np.uint8)
        truth = predicted.copy()
        truth[:, ::2] = VOID
        truth[0] = VOID
        metrics = prepared.task.evaluate({"mask": predicted}, Split(split.images, {"mask": truth})).metrics
        assert metrics == pytest.approx(dict.fromkeys(metrics, 1.0))

    def test_answers_are_json_with_the_masks_of_coco(self, tested):
        prepared, model, _ = tested
        outputs = model.predict(prepared.dataset.test.images[:2], verbose=0)
        predictions = prepared.task.predictions(outputs)
        answers = json.loads(json.dumps(prepared.task.decode(predictions)))
        for answer, mask in zip(answers, predictions["mask"], strict=True):
            assert sum(region["share"] for region in answer) == pytest.approx(1)
            found = np.full(mask.shape, VOID)
            for region in answer:
                k = ("background", *prepared.dataset.class_names).index(region["class"])
                found[coco.decode(region["mask"]).astype(bool)] = k
            np.testing.assert_array_equal(found, mask)

    def test_draws_truth_and_prediction_alike(self, tested):
        prepared, *_ = tested
        split = prepared.dataset.test
        drawn = prepared.task.draw(split.images[0], {"mask": split.targets["mask"][0]})
        assert (drawn.dtype, drawn.shape) == (np.uint8, (384, 384, 3))
        assert (drawn != drawn[..., :1]).any()  # digits are gray

    @pytest.mark.slow  # three trainings
    def test_stopped_within_an_epoch_and_resumed_it_ends_the_same(self, prepare, undisturbed_and_resumed):
        experiment = prepare(*TINY, "data.size=16", "task.loss=cross_entropy_dice", "epochs=2", "weight_averaging=ema",
                             "augmentation=[rotation,flip]", "fill_mode=constant", "state.minutes=1e-9")  # fmt: skip
        ids, digests = zip(*undisturbed_and_resumed(experiment, (1, 1)), strict=True)
        assert digests[0] == digests[1]
        histories = [queries.history(run, ["train/loss", "train/mean_iou", "val/accuracy"])
                     for run in queries.find_runs(ids)]  # fmt: skip
        assert histories[0] == histories[1]
        assert all(len(values) == 2 for values in histories[0].values())


# 29 images in batches of 8 leave 5 for the last, of which two devices get 2 and 3; what turns in from outside is void.
WITH_VOID = (*SCENES, *TINY, "data.num_train=29", "batch_size=8", "task.dropout=0", "task.loss=cross_entropy_dice",
             "augmentation=[rotation]", "fill_mode=constant", "schedule=constant", "optimizer=sgd", "optimizer.lr=0.01",
             "optimizer.momentum=0", "tracking.experiment=digits")  # fmt: skip


TWO_DEVICES = """
import runpy, sys
import tensorflow as tf
processor, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, 2 * [tf.config.LogicalDeviceConfiguration()])
from helpers.runs import composed
main = runpy.run_path("run.py")["main"]
for distribute in ("none", "mirrored"):
    uri = f"sqlite:///{sys.argv[1]}/{distribute}/mlflow.db"
    main(composed(*sys.argv[2:], f"tracking.uri={uri}", f"distribute={distribute}"))
"""


@pytest.mark.slow
def test_two_devices_train_as_one_does(tmp_path):
    done = run_python("-c", TWO_DEVICES, tmp_path, *WITH_VOID, PYTHONPATH="tests")
    assert done.code == 0, done.stderr
    for read in (weight_arrays, metric_history):
        ours, theirs = (read(tmp_path / distribute) for distribute in ("mirrored", "none"))
        assert ours.keys() == theirs.keys()
        for name in ours:
            # A pixel whose class is a tie may fall to either side.
            tolerance = 1e-4 if name.endswith(("accuracy", "iou", "dice", "boundary_f1")) else 1e-5
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=tolerance, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_trains_on_jax(tmp_path, head):
    overrides = (*WITH_VOID, "backend=jax", f"task.head={head}", f"tracking.uri={sqlite(tmp_path)}")
    done = run_python(ROOT / "run.py", *overrides, cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    metrics = finished_run(tmp_path).data.metrics
    assert {"train/mean_iou", "val/mean_iou", "test/boundary_f1", "model/flops"} <= metrics.keys()
    assert 0 < metrics["train/mean_iou"] < 1


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["augmentation=[mixup]"], "augmentation.mixup: task=segmentation has targets with positions in the image"),
        (["evaluate.tta=flip"], "evaluate.tta=flip: task=segmentation has targets with positions"),
        (["task.class_weights=[1,2]"], "task.class_weights=[1.0, 2.0]: should be 11 numbers, one for the background "
                                       "and one for each class"),
        ([f"task.class_weights={[0.0] * 11}"], f"task.class_weights={[0.0] * 11}: should have at least one above 0; "
         "otherwise nothing is learned"),
        (["task.class_weights=even"], "task.class_weights=even: should be 'none' or 'balanced'"),
        (["task.head=fcn"], "task.head=fcn: should be 'unet' or 'deeplab'"),
        (["task.loss=iou"], "task.loss=iou: should be 'cross_entropy', 'focal', 'dice' or 'cross_entropy_dice'"),
        (["task.width=0"], "task.width=0: should be greater than 0"),
        (["callbacks.checkpoint.monitor=val/iou"], "callbacks.checkpoint.monitor=val/iou: never logged"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_in_one_line(prepare, overrides, line):
    with pytest.raises(InputError) as refused:
        prepare(*TINY, *overrides)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_data_without_masks_is_refused(compose):
    with pytest.raises(InputError) as refused:
        Experiment.prepare(compose("task=segmentation", "data=digits"))
    assert str(refused.value) == ("data=digits: its images have no mask, which this task needs; they have label")

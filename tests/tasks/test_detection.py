"""Detection on several backbones: it trains, is saved, resumed, listed and compared."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from cifar import tracking
from cifar.config.registry import MODELS
from cifar.interfaces import Evaluation
from cifar.metrics import detection
from cifar.nn import graph, layers
from cifar.tasks.detection.fpn import map_size, pyramid
from cifar.training import checkpoint_file
from cifar.training.experiment import Experiment
from helpers.models import backbone, small
from helpers.runs import sqlite


@pytest.mark.parametrize("name", [*MODELS.names(), "airbench model.whitening_padding=valid"])
def test_every_backbone_has_every_level(name):
    """Also one that resizes images, and one that does not pad them."""
    name, *more = name.split()
    image = (40, 40) if name == "pretrained" else (33, 40)
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


@pytest.mark.slow
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
    assert graph.last_layers(model) == last

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

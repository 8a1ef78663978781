"""The task of several labels an image, against scikit-learn's and Keras's own figures."""

from __future__ import annotations

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn import metrics as sk

from cifar.data import folds
from cifar.data.splits import rarest_class
from cifar.interfaces import Dataset, Split
from cifar.metrics.micro_f1 import MicroF1
from cifar.runtime.errors import InputError
from cifar.tasks.multilabel import Multilabel
from cifar.training.experiment import Experiment
from helpers.runs import TINY

NAMES = ("cat", "dog", "eel")


def drawn(seed: int, classes: int = 4, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """(labels bool, probabilities float32), both (n, classes); the last class has no image."""
    random = np.random.default_rng(seed)
    labels = random.random((count, classes)) < 0.4
    labels[:, -1] = False
    return labels, np.clip(0.6 * labels + 0.7 * random.random(labels.shape) - 0.1, 0, 1).astype("float32")


def split(labels: np.ndarray) -> Split:
    images = np.zeros((len(labels), 4, 4, 1), np.uint8)
    return Split(images, {"labels": labels}, np.array([f"test/{number}.png" for number in range(len(labels))]))


def evaluated(labels, probabilities, class_names=NAMES, threshold=0.5):
    return Multilabel(class_names, threshold=threshold).evaluate({"probabilities": probabilities}, split(labels))


@pytest.mark.parametrize(("seed", "threshold"), [(0, 0.5), (1, 0.3), (2, 0.9)])
def test_metrics_are_scikit_learns(seed, threshold):
    labels, outputs = drawn(seed)
    found = evaluated(labels, outputs, ("a", "b", "c", "d"), threshold).metrics
    here, guesses = labels[:, :3], (outputs > threshold)[:, :3]
    expected = {
        "map": sk.average_precision_score(here, outputs[:, :3], average="macro"),
        "subset_accuracy": sk.accuracy_score(labels, outputs > threshold),
        "hamming_loss": sk.hamming_loss(labels, outputs > threshold),
    }
    for average, (true, guess) in {"macro": (here, guesses), "micro": (labels, outputs > threshold)}.items():
        values = sk.precision_recall_fscore_support(true, guess, average=average, zero_division=0)[:3]
        expected |= {
            f"{name}_{average}": value for name, value in zip(("precision", "recall", "f1"), values, strict=True)
        }
    assert found == pytest.approx(expected)


def test_tables_notes_and_warnings_name_images_and_classes():
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    outputs = np.array([[0.9, 0.2, 0.1], [0.25, 0.1, 0.75], [0.1, 0.1, 0.1]], "float32")
    found = evaluated(labels, outputs)
    rows = [{key: row[key] for key in list(row)[:7]} for row in found.tables["predictions.csv"]]
    common = {"labels": "", "predicted": "", "missed": "", "wrong": ""}
    assert rows == [
        {"index": 0, "image": "test/0.png", **common, "labels": "cat;dog", "predicted": "cat", "missed": "dog",
         "correct": False},
        {"index": 1, "image": "test/1.png", **common, "labels": "cat", "predicted": "eel", "missed": "cat",
         "wrong": "eel", "correct": False},
        {"index": 2, "image": "test/2.png", **common, "correct": True},
    ]  # fmt: skip
    assert found.tables["predictions.csv"][1]["probability of eel"] == 0.75
    by_class = {row["class"]: row for row in found.tables["per_class.csv"]}
    assert by_class["cat"]["support"] == 2
    assert (by_class["cat"]["precision"], by_class["cat"]["recall"], by_class["cat"]["average_precision"]) == (
        1,
        0.5,
        1,
    )
    assert np.isnan(by_class["eel"]["f1"])
    assert found.notes == ["macro averages cover 2 of 3 classes: no test images of eel"]
    assert found.warnings == ["never predicted: dog"]


def test_images_without_any_label_have_undefined_metrics():
    found = evaluated(np.zeros((2, 3), bool), np.full((2, 3), 0.1, "float32")).metrics
    assert np.isnan(found["map"])
    assert found["subset_accuracy"] == 1


def test_pictures_are_figures_and_name_the_files():
    labels, outputs = drawn(0)
    figures = evaluated(labels, outputs, ("a", "b", "c", "d")).figures
    assert figures.keys() == {"per_class", "confident_mistakes"}
    drawings = {name: draw() for name, draw in figures.items()}
    assert all(isinstance(figure, Figure) for figure in drawings.values())
    error = np.where(labels != (outputs > 0.5), np.abs(labels - outputs), 0)
    row, k = np.unravel_index(error.argmax(), error.shape)
    title = drawings["confident_mistakes"].axes[0].get_title()
    kind = "missed" if labels[row, k] else "wrong"
    assert title == f"{'abcd'[k]} {kind}\n{100 * outputs[row, k]:.1f} %\ntest/{row}.png"


def test_answer_has_all_predicted_classes_and_at_least_five():
    names = tuple("abcdefgh")
    outputs = np.array([[0.1, 0.9, 0.2, 0.3, 0.4, 0.05, 0.01, 0.02], [0.9] * 7 + [0.1]], "float32")
    few, many = Multilabel(names).decode({"probabilities": outputs})
    assert [(entry["class"], entry["predicted"]) for entry in few] == [
        ("b", True), ("e", False), ("d", False), ("c", False), ("a", False),
    ]  # fmt: skip
    assert [entry["class"] for entry in many] == list("abcdefg")
    assert json.loads(json.dumps([few, many])) == [few, many]


def test_losses_follow_their_formulas():
    labels, outputs = drawn(3)
    outputs = np.clip(outputs, 0.01, 0.99)
    right = np.where(labels, outputs, 1 - outputs)
    expected = {"cross_entropy": -np.log(right), "focal": (1 - right) ** 2 * -np.log(right)}
    for name, values in expected.items():
        task = Multilabel(tuple("abcd"), loss=name, focal_gamma=2.0)
        found = float(task.loss()(task.encode({"labels": labels}), outputs))
        assert found == pytest.approx(values.mean(), rel=1e-4)


def test_metric_of_training_is_keras_f1_score():
    ours, theirs = MicroF1(0.4, "f1_micro"), keras.metrics.F1Score("micro", 0.4)
    for seed in (0, 1):
        labels, outputs = drawn(seed)
        for metric in (ours, theirs):
            metric.update_state(labels.astype("float32"), outputs)
    assert float(ours.result()) == pytest.approx(float(theirs.result()), rel=1e-5)
    assert (ours.name,) == Multilabel.metric_names


class TestExperiment:
    """The task on data with one label an image, and with several."""

    def test_one_label_an_image_is_learned_too(self, compose):
        experiment = Experiment.prepare(compose(*TINY, "task=multilabel"))
        task, labels = experiment.task, experiment.dataset.val.targets["label"]
        encoded = np.asarray(task.encode({"label": labels}))
        assert np.array_equal(encoded.argmax(axis=1), labels)
        outputs = np.asarray(experiment.model()(experiment.dataset.val.images))
        assert ((outputs > 0) & (outputs < 1)).all()
        assert not np.allclose(outputs.sum(axis=1), 1)
        perfect = task.evaluate({"probabilities": encoded}, experiment.dataset.val)
        assert perfect.metrics["map"] == perfect.metrics["subset_accuracy"] == 1

    def test_mixed_images_have_mixed_labels(self, compose):
        stated = compose("data=digits", "data.limit=100", "task=multilabel", "augmentation=[mixup]")
        _, targets = next(iter(Experiment.prepare(stated).training_batches(0, 0, 1)))
        assert ((targets.numpy() > 0) & (targets.numpy() < 1)).any()

    @pytest.mark.parametrize(
        ("override", "line"),
        [
            ("evaluate.calibration=temperature", "evaluate.calibration=temperature: task=multilabel has no "),
            ("task.threshold=1", "task.threshold=1: should be less than 1"),
            ("model.classifier=null", "model.classifier: required setting is missing; task=multilabel needs it"),
        ],
    )
    def test_mistake_is_answered_in_one_line(self, compose, override, line):
        with pytest.raises(InputError) as refused:
            Experiment.prepare(compose(*TINY, "task=multilabel", override))
        assert str(refused.value).startswith(line)


def test_splits_are_stratified_by_the_rarest_class_of_an_image():
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1], [1, 0, 1]], bool)
    assert rarest_class(labels).tolist() == [1, 0, 3, 2, 2]


def test_folds_keep_the_share_of_each_label():
    random = np.random.default_rng(0)
    labels = np.stack([np.arange(60) % 2 == 0, np.arange(60) % 6 == 0], axis=1)[random.permutation(60)]
    data = replace(
        Dataset.placeholder("pets", ("cat", "dog"), (4, 4, 1)), train=split(labels[:48]), val=split(labels[48:])
    )
    parts = [folds.cut(data, 5, fold, seed=0).val.targets["labels"].sum(axis=0) for fold in range(5)]
    assert np.array_equal(parts, [[6, 2]] * 5)

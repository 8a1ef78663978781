"""The classification task against scikit-learn's and Keras's own figures."""

from __future__ import annotations

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from sklearn import metrics as sk

from cifar import plots
from cifar.config.builders import ClassifierSettings
from cifar.config.registry import MODELS
from cifar.interfaces import Split
from cifar.runtime.errors import InputError
from cifar.tasks.classification import Classification
from cifar.training.experiment import Experiment
from helpers.runs import TINY

HEAD = {"pooling": "flatten", "units": [8], "dropout": 0.5}


def names(classes: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(classes))


def split(labels) -> Split:
    labels = np.asarray(labels, np.int64)
    return Split(np.zeros((len(labels), 4, 4, 1), np.uint8), {"label": labels})


def backbone(image_shape=(8, 8, 1)) -> keras.Model:
    return MODELS.build({"name": "cnn3", "filters": [3, 5], "kernel_size": 3, "dropout": 0.0}, image_shape=image_shape)


@st.composite
def predictions(draw):
    """(labels (n,), probabilities (n, classes)) of any quality."""
    number = draw(st.integers(2, 12))
    count = draw(st.integers(2, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = random.integers(0, number, count)
    logits = random.normal(size=(count, number)) + draw(st.floats(0, 5)) * np.eye(number)[labels]
    return labels, keras.ops.convert_to_numpy(keras.ops.softmax(logits.astype("float32")))


@pytest.fixture(scope="class")
def without_pictures():
    with pytest.MonkeyPatch.context() as patch:
        for picture in ("confusion_matrix", "per_class_bars", "reliability_diagram", "confident_mistakes"):
            patch.setattr(plots, picture, lambda *arguments: None)
        yield


@pytest.mark.usefixtures("without_pictures")
class TestEvaluate:
    """Metrics, tables and pictures of given probabilities."""

    @given(predictions())
    @settings(max_examples=50, deadline=None)
    @pytest.mark.filterwarnings("ignore::UserWarning")  # scikit-learn's, of classes that are never there
    def test_metrics_are_scikit_learns(self, drawn):
        labels, outputs = drawn
        classes = np.arange(outputs.shape[1])
        there = np.unique(labels)  # the averages are of these
        found = Classification(names(len(classes))).evaluate({"probabilities": outputs}, split(labels)).metrics
        guesses = outputs.argmax(axis=1)
        expected = {
            "accuracy": sk.accuracy_score(labels, guesses),
        }
        for average in ("macro", "weighted"):
            scores = sk.precision_recall_fscore_support(labels, guesses, labels=there, average=average, zero_division=0)
            expected |= {f"{name}_{average}": score for name, score in zip(("precision", "recall", "f1"), scores[:3],
                                                                           strict=True)}  # fmt: skip
        if len(classes) >= 10:
            expected["top5_accuracy"] = sk.top_k_accuracy_score(labels, outputs, k=5, labels=classes)
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert 0 <= found["ece"] <= 1
        kappa = sk.cohen_kappa_score(labels, guesses, labels=classes)
        assert found["kappa"] == pytest.approx(kappa, nan_ok=True)
        assert found.keys() - expected.keys() == {"kappa", "ece"}

    def test_perfect_predictions(self):
        labels = np.arange(10).repeat(3)
        perfect = {"probabilities": np.eye(10, dtype="float32")[labels]}
        found = Classification(names(10)).evaluate(perfect, split(labels)).metrics
        assert found.pop("ece") == 0
        assert set(found.values()) == {1.0}

    def test_class_without_images_has_no_scores_and_no_part_in_the_averages(self):
        outputs = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], "float32")
        evaluation = Classification(("cat", "dog", "eel")).evaluate({"probabilities": outputs}, split([0, 0]))
        report = evaluation.tables["classification_report.json"]
        cat = {"precision": 1.0, "recall": 0.5, "f1-score": pytest.approx(2 / 3), "support": 2}
        nothing = {"precision": None, "recall": None, "f1-score": None, "support": 0}
        assert report["classes"] == {"cat": cat, "dog": nothing, "eel": nothing}
        assert report["macro avg"] == report["weighted avg"] == cat
        assert evaluation.metrics["f1_macro"] == pytest.approx(2 / 3)
        assert json.loads(json.dumps(report)) == report
        note = "macro averages cover 1 of 3 classes: no test images of dog, eel"
        assert evaluation.notes == [note]
        assert [line.split() for line in evaluation.tables["classification_report.txt"].splitlines()] == [
            ["class", "precision", "recall", "f1-score", "images"],
            ["cat", "1.000", "0.500", "0.667", "2"], ["dog", *"———", "0"], ["eel", *"———", "0"], [],
            ["accuracy", "0.500", "2"], ["macro", "avg", "1.000", "0.500", "0.667", "2"],
            ["weighted", "avg", "1.000", "0.500", "0.667", "2"], note.split(),
        ]  # fmt: skip

    def test_class_names_may_be_those_of_the_averages(self):
        called = ("accuracy", "macro avg", "weighted avg")
        labels = np.array([0, 0, 1, 2])
        outputs = {"probabilities": np.eye(3, dtype="float32")[[0, 1, 1, 2]]}
        renamed, plain = (Classification(own).evaluate(outputs, split(labels)) for own in (called, names(3)))
        assert renamed.metrics == plain.metrics
        reports = [one.tables["classification_report.json"] for one in (renamed, plain)]
        assert list(reports[0]["classes"]) == list(called)
        assert [*reports[0].pop("classes").values()] == [*reports[1].pop("classes").values()]
        assert reports[0] == reports[1]

    def test_every_image_has_its_row_in_the_table_of_predictions(self):
        found = {"probabilities": np.array([[0.9, 0.1], [0.25, 0.75]], "float32")}
        rows = Classification(("cat", "dog")).evaluate(found, split([0, 0])).tables["predictions.csv"]
        assert rows == [
            {"index": 0, "image": "0", "label": "cat", "predicted": "cat", "correct": True, "confidence": 0.9,
             "label_probability": 0.9},
            {"index": 1, "image": "1", "label": "cat", "predicted": "dog", "correct": False, "confidence": 0.75,
             "label_probability": 0.25},
        ]  # fmt: skip


def test_mistaken_photos_are_named():
    ids = np.array(["test/dog/7.jpg", "test/cat/1.jpg"])
    named = replace(split([1, 0]), ids=ids)
    found = {"probabilities": np.array([[0.9, 0.1], [0.75, 0.25]], "float32")}
    evaluation = Classification(("cat", "dog")).evaluate(found, named)
    assert [row["image"] for row in evaluation.tables["predictions.csv"]] == ids.tolist()
    shown = evaluation.figures["confident_mistakes"]().axes[0].get_title()
    assert shown == "dog\n→ cat\n90.0 %\ntest/dog/7.jpg"


def test_pictures_are_figures():
    labels = np.arange(10).repeat(2)
    outputs = np.full((20, 10), 0.05, "float32") + 0.5 * np.eye(10, dtype="float32")[np.roll(labels, 1)]
    figures = Classification(names(10)).evaluate({"probabilities": outputs}, split(labels)).figures
    assert figures.keys() == {"confusion_matrix", "per_class", "reliability", "confident_mistakes"}
    assert all(isinstance(draw(), Figure) for draw in figures.values())


class TestDecode:
    """Probabilities as an answer that JSON can hold."""

    def test_top_classes_first(self):
        found = {"probabilities": np.array([[0.25, 0.125, 0.625]], "float32")}
        answer = Classification(("cat", "dog", "eel")).decode(found)
        expected = [("eel", 0.625), ("cat", 0.25), ("dog", 0.125)]
        assert answer == [[{"class": name, "probability": share} for name, share in expected]]

    @given(predictions())
    @settings(max_examples=30, deadline=None)
    def test_is_the_start_of_the_ranking(self, drawn):
        _, outputs = drawn
        task = Classification(names(outputs.shape[1]))
        answers = task.decode({"probabilities": outputs})
        assert json.loads(json.dumps(answers)) == answers
        for answer, row in zip(answers, outputs, strict=True):
            assert [entry["probability"] for entry in answer] == sorted(map(float, row), reverse=True)[:5]
            assert all(row[task.class_names.index(entry["class"])] == entry["probability"] for entry in answer)


def model(classes: int, body: keras.Model | None = None, **changes) -> keras.Model:
    task = Classification(names(classes), classifier=ClassifierSettings(**{**HEAD, **changes}))
    return task.model(body or backbone())


@pytest.fixture(scope="module")
def classifier():
    return model(10)


class TestModel:
    """The head on a backbone."""

    @pytest.mark.parametrize(("pooling", "features"), [("flatten", 2 * 2 * 5), ("average", 5), ("max", 5)])
    def test_head_pools_the_deepest_feature_map(self, pooling, features):
        built = model(7, pooling=pooling, units=[])
        assert built.get_layer("probabilities").kernel.shape == (features, 7)

    def test_hidden_layers_are_those_of_the_settings(self):
        built = model(7, units=[6, 4], dropout=0.25)
        dense = [layer.units for layer in built.layers if isinstance(layer, keras.layers.Dense)]
        rates = [layer.rate for layer in built.layers if isinstance(layer, keras.layers.Dropout)]
        assert dense == [6, 4, 7]
        assert rates[-2:] == [0.25, 0.25]

    def test_deepest_is_by_number_not_by_letter(self):
        image = keras.Input((4, 4, 1), dtype="uint8")
        x = keras.layers.Rescaling(1 / 255)(image)
        levels = {"P2": keras.layers.Conv2D(2, 1)(x), "P10": keras.layers.Conv2D(3, 1)(x)}
        built = model(5, keras.Model(image, levels), pooling="max", units=[])
        assert built.get_layer("probabilities").kernel.shape == (3, 5)

    @given(st.integers(0, 2**32), st.integers(1, 4))
    @settings(max_examples=15, deadline=None)
    def test_raw_pixels_become_probabilities(self, classifier, seed, count):
        images = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), np.uint8)
        outputs = keras.ops.convert_to_numpy(classifier(images))
        assert outputs.shape == (count, 10)
        assert outputs.dtype == np.float32
        assert (outputs >= 0).all()
        assert outputs.sum(axis=1) == pytest.approx(1, abs=1e-5)

    @pytest.mark.parametrize(
        ("changes", "line"),
        [
            (["pooling=mean"], "pooling=mean: should be 'flatten', 'average' or 'max'"),
            (["dropout=1"], "dropout=1: should be less than 1"),
            (["unit=3"], "unit=3: unknown setting; did you mean 'units'?"),
        ],
    )
    def test_its_settings_are_checked(self, compose, changes, line):
        with pytest.raises(InputError) as refused:
            compose("data=digits", *(f"++model.classifier.{change}" for change in changes))
        assert str(refused.value).startswith(f"model.classifier.{line}")

    def test_classification_needs_one(self, compose):
        with pytest.raises(InputError, match=r"^model\.classifier: required setting is missing"):
            Experiment.prepare(compose(*TINY[1:], "data=digits", "model.classifier=null"))


def test_targets_are_one_hot_and_the_loss_takes_them():
    task = Classification(names(3), label_smoothing=0.0)
    targets = task.encode({"label": np.array([2, 0])})
    assert np.array_equal(targets, [[0, 0, 1], [1, 0, 0]])
    outputs = np.array([[0.2, 0.2, 0.6], [0.5, 0.25, 0.25]], "float32")
    assert float(task.loss()(targets, outputs)) == pytest.approx(-np.log([0.6, 0.5]).mean(), rel=1e-5)
    (accuracy,) = task.metrics()
    accuracy.update_state(targets, outputs)
    assert float(accuracy.result()) == 1
    assert (accuracy.name,) == task.metric_names


class TestLoss:
    """Cross-entropy, focal loss and weights of classes, against their formulas."""

    @given(predictions(), st.floats(0, 4), st.floats(0, 0.5), st.integers(0, 100))
    @settings(max_examples=30, deadline=None)
    def test_follows_its_formula(self, drawn, gamma, smoothing, seed):
        labels, outputs = drawn
        outputs = np.clip(outputs, 1e-3, None) / np.clip(outputs, 1e-3, None).sum(axis=1, keepdims=True)
        classes = outputs.shape[1]
        weights = np.random.default_rng(seed).uniform(0.1, 3, classes)
        task = Classification(names(classes), "focal", smoothing, gamma, weights.tolist())
        targets = (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
        each = (weights * targets * (1 - outputs) ** gamma * -np.log(outputs)).sum(axis=1)
        found = task.loss()(task.encode({"label": labels}), outputs.astype("float32"))
        assert float(found) == pytest.approx(each.mean(), rel=1e-3, abs=1e-5)

    def test_weights_of_one_are_no_weights(self):
        outputs = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], "float32")
        targets = np.eye(3, dtype="float32")[:2]
        plain = Classification(names(3), label_smoothing=0.1)
        weighted = Classification(names(3), label_smoothing=0.1, class_weights=[1.0] * 3)
        losses = [float(task.loss()(targets, outputs)) for task in (plain, weighted)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-6)

    def test_balanced_weights_give_each_class_the_same_say(self, compose):
        experiment = Experiment.prepare(compose(*TINY, "task.class_weights=balanced"))
        labels = experiment.dataset.train.targets["label"]
        weights = np.array(experiment.task.class_weights)[labels]
        says = np.bincount(labels, weights)
        np.testing.assert_allclose(says, says.mean())
        assert weights.mean() == pytest.approx(1)

    def test_settings_decide_it(self, compose):
        def built(*overrides):
            task = Experiment.prepare(compose(*TINY, *overrides)).task
            return getattr(task.loss(), "gamma", 0), task.class_weights

        assert built() == (0, None)
        assert built("task.focal_gamma=3") == (0, None)
        assert built("task.loss=focal", "task.focal_gamma=3") == (3, None)
        assert built(f"task.class_weights={[1] * 9 + [0.5]}") == (0, [1] * 9 + [0.5])

    @pytest.mark.parametrize(
        ("override", "line"),
        [
            ("task.class_weights=[1,2]", "task.class_weights=[1.0, 2.0]: should be 10 numbers, one for each class"),
            ("task.class_weights=even", "task.class_weights=even: should be 'none' or 'balanced'"),
            ("task.class_weights=[1,-2]", "task.class_weights.1=-2: should be greater than or equal to 0"),
            *(
                (
                    f"task.class_weights={weights}",
                    f"task.class_weights={weights}: should have at least two above 0; "
                    "otherwise only one class is learned",
                )
                for weights in ([0.0] * 10, [1.0] + [0.0] * 9)
            ),
            ("task.loss=fokal", "task.loss=fokal: should be 'cross_entropy' or 'focal'"),
        ],
    )
    def test_a_mistake_is_answered_in_one_line(self, compose, override, line):
        with pytest.raises(InputError) as refused:
            Experiment.prepare(compose(*TINY, override))
        assert str(refused.value) == line


def test_data_that_no_classification_can_be_learned_from(compose):
    prepared = Experiment.prepare(compose(*TINY))
    data, stated = prepared.dataset, prepared.settings
    zeros = data.train.take(np.flatnonzero(data.train.targets["label"] == 0))
    with pytest.raises(InputError, match=r"^data=digits: has one class, '0'; task=classification needs at least 2$"):
        Experiment.prepare(stated, replace(data, train=zeros, class_names=("0",)))
    no_threes = data.train.take(np.flatnonzero(data.train.targets["label"] != 3))
    with pytest.raises(InputError, match=r"^data=digits: no training images of '3'; accepted: at least one of each "):
        Experiment.prepare(stated, replace(data, train=no_threes))


def test_classes_come_from_the_data(compose):
    experiment = Experiment.prepare(compose(*TINY))
    fewer = replace(experiment, task=Classification(names(3), classifier=experiment.task.classifier))
    assert experiment.model().output_shape == (None, 10)
    assert fewer.model().output_shape == (None, 3)

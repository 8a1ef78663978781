"""Temperature scaling: the fit against a grid, and one calibrated run through every command that uses it."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import keras
import mlflow
import numpy as np
import pytest
from PIL import Image

from cifar import tracking
from cifar.config.compose import resolve
from cifar.metrics import calibration as metric
from cifar.runtime import interrupts
from cifar.serving.limits import Limits
from cifar.serving.models import Model
from cifar.tracking import queries
from cifar.training import calibration, trainer
from cifar.training.experiment import Experiment
from helpers.runs import TINY, composed, sqlite

CALIBRATED = "evaluate.calibration=temperature"
LEARNS = ("data.limit=null", "optimizer.lr=0.02", "schedule=constant", "callbacks=[checkpoint]", "epochs=2")


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def drawn(temperature: float, images: int = 20_000, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident probabilities (images, classes) and labels (images,): right ones have logits / `temperature`."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (images, classes))
    labels = (random.random((images, 1)) > softmax(logits).cumsum(axis=1)).sum(axis=1)
    return softmax(logits * temperature), np.minimum(labels, classes - 1)


class TestFit:
    @pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
    def test_finds_the_temperature_that_the_labels_were_drawn_with(self, temperature):
        probabilities, labels = drawn(temperature)
        assert metric.best_temperature(probabilities, labels) == pytest.approx(temperature, rel=0.03)

    def test_is_the_minimum_of_the_likelihood(self):
        probabilities, labels = drawn(2.0, images=300)
        best = metric.best_temperature(probabilities.astype(np.float32), labels)

        def loss(temperature):
            return metric.negative_log_likelihood(metric.with_temperature(probabilities, temperature), labels)

        assert loss(best) <= min(loss(other) for other in np.geomspace(0.1, 10, 500))
        assert loss(best) < loss(1.0) == pytest.approx(metric.negative_log_likelihood(probabilities, labels))

    def test_mends_the_calibration_error(self):
        probabilities, labels = drawn(3.0)
        best = metric.best_temperature(probabilities, labels)
        scaled = metric.with_temperature(probabilities, best)
        right = probabilities.argmax(axis=1) == labels
        assert metric.expected_calibration_error(probabilities.max(axis=1), right) > 0.2
        assert metric.expected_calibration_error(scaled.max(axis=1), right) < 0.02

    @pytest.mark.parametrize("temperature", [0.01, 0.3, 7.0, 100.0])
    def test_order_of_the_classes_stays(self, temperature):
        probabilities = drawn(3.0, images=500)[0].astype(np.float32)
        scaled = metric.with_temperature(probabilities, temperature)
        np.testing.assert_array_equal(scaled.argmax(axis=1), probabilities.argmax(axis=1))
        np.testing.assert_allclose(scaled.sum(axis=1), 1)

    @pytest.mark.parametrize("label", [0, 2])
    def test_none_where_all_are_right_or_worse_than_chance(self, label):
        probabilities = np.tile(np.float32([0.7, 0.2, 0.1]), (20, 1))
        assert metric.best_temperature(probabilities, np.full(20, label)) is None

    def test_probabilities_of_zero_do_not_break_it(self):
        probabilities = np.float32([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]])
        found = metric.best_temperature(probabilities, np.array([0, 1, 1, 1]))
        assert found > 1
        assert np.isfinite(metric.negative_log_likelihood(metric.with_temperature(probabilities, found), [0, 1, 1, 1]))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("calibrated")


@pytest.fixture(scope="module")
def run(store):
    """A calibrated run, and its model as it was trained."""
    settings = resolve(composed(f"tracking.uri={sqlite(store)}", *TINY, *LEARNS, CALIBRATED))
    experiment = Experiment.prepare(settings)
    tracking.connect(settings.tracking.uri)
    with interrupts.handled(), tracking.start(settings.tracking) as started:
        model = experiment.compiled_model()
        trainer.describe(experiment, model, started)
        model = trainer.fit(experiment, model, started)
        trainer.finish(experiment, model, started)
    (recorded,) = queries.find_runs([started.id])
    return SimpleNamespace(id=recorded.id, run=recorded, uri=settings.tracking.uri, experiment=experiment, model=model)


def table(run) -> list[dict[str, str]]:
    """The rows of `predictions.csv`."""
    address = mlflow.MlflowClient(run.uri).get_run(run.id).info.artifact_uri
    return list(csv.DictReader(mlflow.artifacts.load_text(f"{address}/tables/predictions.csv").splitlines()))


@pytest.fixture
def expected(run) -> np.ndarray:
    """Calibrated probabilities of the test images."""
    outputs = run.model.predict(run.experiment.dataset.test.images, verbose=0)
    return metric.with_temperature(outputs, run.run.metrics["model/temperature"])


@pytest.mark.slow
class TestRun:
    def test_records_before_and_after(self, run, expected):
        metrics, labels = run.run.metrics, run.experiment.dataset.test.targets["label"]
        outputs = run.model.predict(run.experiment.dataset.test.images, verbose=0)
        right = outputs.argmax(axis=1) == labels
        assert metrics["model/temperature"] != 1
        for end, probabilities in (("", expected), ("_uncalibrated", outputs)):
            error = metric.expected_calibration_error(probabilities.max(axis=1), right)
            assert metrics[f"test/ece{end}"] == pytest.approx(error, abs=1e-5)
            likelihood = metric.negative_log_likelihood(probabilities, labels)
            assert metrics[f"test/nll{end}"] == pytest.approx(likelihood, rel=1e-5)
        assert metrics["test/accuracy"] == pytest.approx(right.mean())
        confidence = [float(row["confidence"]) for row in table(run)]
        np.testing.assert_allclose(confidence, expected.max(axis=1), atol=1e-5)

    def test_keeps_the_weights_of_the_training(self, run):
        assert run.run.tags["weights_sha256"] == trainer.weights_sha256(run.model)

    def test_evaluate_says_the_same(self, run, command):
        done = command(run.uri, "evaluate", run.id)
        assert done.code == 0, done
        for name in ("ece", "ece_uncalibrated", "nll", "nll_uncalibrated"):
            assert f"test/{name} {run.run.metrics[f'test/{name}']:.4f}\n" in done.stdout

    def test_evaluate_with_other_views_is_calibrated(self, run, command):
        done = command(run.uri, "evaluate", run.id, "--tta", "flip")
        assert done.code == 0
        assert "test/ece_uncalibrated" in done.stdout

    def test_predict_answers_calibrated(self, run, command, expected, tmp_path):
        Image.fromarray(run.experiment.dataset.test.images[0, :, :, 0]).save(tmp_path / "image.png")
        done = command(run.uri, "predict", run.id, tmp_path / "image.png")
        answers = [entry["probability"] for entry in json.loads(done.stdout)["answer"]]
        np.testing.assert_allclose(answers, sorted(expected[0])[:-6:-1], rtol=1e-4)

    def test_service_answers_calibrated(self, run, expected):
        model = Model("digits", run.run, run.uri, Limits(), lambda *_: None)
        outputs = model._compute([run.experiment.dataset.test.images[:4]])[0]["probabilities"]
        np.testing.assert_allclose(outputs, expected[:4], atol=1e-5)

    def test_every_export_is_calibrated(self, run, command, expected, tmp_path):
        done = command(run.uri, "export", run.id, tmp_path / "export")
        assert done.code == 0, done.stderr
        card = json.loads((tmp_path / "export" / "1" / "model.json").read_text())
        assert card["temperature"] == run.run.metrics["model/temperature"]
        for name, found in card["formats"].items():
            assert found["test"]["ece"] == pytest.approx(
                run.run.metrics["test/ece"], abs=0.05 if "int8" in name else 1e-4
            )
        model = keras.saving.load_model(tmp_path / "export" / "1" / "model.keras")
        outputs = model.predict(run.experiment.dataset.test.images, verbose=0)
        np.testing.assert_allclose(outputs, expected, atol=1e-5)

    def test_model_of_mlflow_is_calibrated(self, run, expected):
        (logged,) = mlflow.MlflowClient(run.uri).search_logged_models(
            [mlflow.MlflowClient(run.uri).get_run(run.id).info.experiment_id]
        )
        model = mlflow.tensorflow.load_model(logged.model_uri)
        outputs = model.predict(run.experiment.dataset.test.images, verbose=0)
        np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_views_have_a_temperature_of_their_own(compose):
    experiment = Experiment.prepare(compose(*TINY, "data.limit=300", CALIBRATED, "evaluate.tta=flip"))
    model = experiment.compiled_model()
    found = calibration.temperatures(experiment, model)
    assert list(found) == ["model/temperature", "model/temperature_flip"]
    chosen = experiment.settings.evaluate
    assert calibration.recorded(chosen, found) == found["model/temperature_flip"]
    for views in ("none", "flip_shift"):
        own = chosen.model_copy(update={"tta": views})
        assert calibration.recorded(own, found) == found["model/temperature"]


def test_a_run_that_lacks_its_temperature_is_not_calibrated(compose, capfd):
    experiment = Experiment.prepare(compose(*TINY, CALIBRATED))
    model = experiment.model()
    before = model.get_weights()
    calibration.calibrated(model, experiment.settings, {})
    assert "before its temperature was fitted" in capfd.readouterr().err
    np.testing.assert_array_equal(before[-1], model.get_weights()[-1])


def test_dense_tasks_refuse_it(mistake):
    line = mistake("task=segmentation", "data=scenes", "data@data.source=digits", "data.limit=10", CALIBRATED)
    assert line.startswith("evaluate.calibration=temperature: task=segmentation has no probabilities of classes")

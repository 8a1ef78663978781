"""The statistics of batch normalization that a model is evaluated with belong to its weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cifar.config.compose import resolve
from cifar.training.experiment import Experiment
from cifar.training.moving_statistics import MovingStatistics
from helpers.runs import composed

pytestmark = pytest.mark.slow

SETTINGS = ("data=digits", "data.limit=300", "model.filters=[8,16]", "batch_size=30", "augmentation=[shift]")


@pytest.fixture
def experiment() -> Experiment:
    return Experiment.prepare(resolve(composed(*SETTINGS)))


def trained(experiment: Experiment, steps: int = 9) -> keras.Model:
    model = experiment.compiled_model()
    for batch in experiment.training_batches(0, 0, 1).take(steps):
        model.train_on_batch(*batch)
    return model


def normalizations(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def values(variables) -> list[np.ndarray]:
    return [variable.numpy() for variable in variables]


def test_statistics_are_those_of_the_inputs_with_the_weights_as_they_are(experiment):
    model = trained(experiment)
    first = normalizations(model)[0]
    batches = [(images, targets) for images, targets in experiment.training_batches(0, 0, 1)]
    MovingStatistics(model, batches).recompute()
    inputs = keras.Model(model.input, first.input).predict_on_batch(np.concatenate([images for images, _ in batches]))
    np.testing.assert_allclose(first.moving_mean.numpy(), inputs.mean((0, 1, 2)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(first.moving_variance.numpy(), inputs.var((0, 1, 2)), rtol=2e-2)


def test_validation_measures_the_model_from_the_first_epoch(experiment):
    model = trained(experiment)
    kept = model.evaluate(experiment.validation_batches(), verbose=0, return_dict=True)["loss"]
    MovingStatistics(model, experiment.statistics_batches()).recompute()
    recomputed = model.evaluate(experiment.validation_batches(), verbose=0, return_dict=True)["loss"]
    MovingStatistics(model, experiment.training_batches(1, 0, 9)).recompute()
    exact = model.evaluate(experiment.validation_batches(), verbose=0, return_dict=True)["loss"]
    assert abs(recomputed - exact) < 0.05 < abs(kept - exact)


def test_nothing_else_changes(experiment):
    model = trained(experiment)
    statistics = [variable for layer in normalizations(model)
                  for variable in (layer.moving_mean, layer.moving_variance)]  # fmt: skip
    others = [variable for variable in model.variables if all(variable is not one for one in statistics)]
    before = values(others)
    MovingStatistics(model, experiment.statistics_batches()).recompute()
    for value, variable in zip(before, others, strict=True):
        np.testing.assert_array_equal(value, variable.numpy(), err_msg=variable.path)
    assert {layer.momentum for layer in normalizations(model)} == {0.99}


def test_frozen_layers_keep_their_statistics(experiment):
    model = trained(experiment)
    frozen, other = normalizations(model)
    frozen.trainable = False
    before = values([frozen.moving_mean, other.moving_mean])
    MovingStatistics(model, experiment.statistics_batches()).recompute()
    np.testing.assert_array_equal(before[0], frozen.moving_mean.numpy())
    assert not np.array_equal(before[1], other.moving_mean.numpy())


def test_a_network_without_normalization_is_left_alone(experiment):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])

    def never():
        raise AssertionError("batches are read in vain")
        yield

    MovingStatistics(model, never()).recompute()

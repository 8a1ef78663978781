"""Weight averages follow the formulas of the papers and do not change the training."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar import tracking
from cifar.config.registry import AVERAGING
from cifar.optim import averaging
from cifar.runtime.paths import WEIGHTS
from cifar.training import trainer
from cifar.training.experiment import Experiment
from helpers.runs import TINY

LR = 0.1


def steps_of(optimizer, gradients) -> tuple[np.ndarray, np.ndarray]:
    """The weights and their averages after a step by each of the gradients, from 1."""
    variable = keras.Variable(np.ones(gradients.shape[1], "float32"))
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)])
    return variable.numpy(), optimizer.averages.values[0].numpy()


def build(name, **setting):
    return AVERAGING.build({"name": name, **setting}, optimizer=keras.optimizers.SGD(LR))


def several_gradients(seed, steps):
    return np.random.default_rng(seed).normal(size=(steps, 3)).astype("float32")


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 100), st.integers(1, 30), st.floats(0.05, 0.999))
def test_ema_follows_its_formula(seed, steps, decay):
    gradients, weight, average = several_gradients(seed, steps), np.ones(3), np.ones(3)
    for step, gradient in enumerate(gradients, start=1):
        weight = weight - LR * gradient
        kept = min(decay, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * weight
    found = steps_of(build("ema", decay=decay), gradients)
    np.testing.assert_allclose(found, (weight, average), atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 100), st.integers(1, 30), st.integers(1, 7), st.floats(0.05, 0.95))
def test_lookahead_follows_its_formula(seed, steps, every, rate):
    gradients, fast, slow = several_gradients(seed, steps), np.ones(3), np.ones(3)
    for step, gradient in enumerate(gradients, start=1):
        fast = fast - LR * gradient
        if step % every == 0:
            fast = slow = slow + rate * (fast - slow)
    found = steps_of(build("lookahead", sync_period=every, slow_step_size=rate), gradients)
    np.testing.assert_allclose(found, (fast, slow), atol=1e-5)


@pytest.fixture
def fitted(compose, tmp_path):
    """fitted(*overrides): the model that training returns, and one with the weights that it saved."""

    def fit(*overrides):
        experiment = Experiment.prepare(compose(*TINY, "model.filters=[4,8]", "epochs=3", *overrides))
        tracking.connect(experiment.settings.tracking.uri)
        model = experiment.compiled_model()
        with tracking.start(experiment.settings.tracking) as run:
            trained = trainer.fit(experiment, model, run)
            saved = experiment.model()
            saved.load_weights(run.folder / WEIGHTS)
            return trained, saved

    return fit


def trainable(model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.trainable_variables]


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("callbacks", ["[checkpoint]", "none", "[early_stopping]"])
def test_averages_are_what_is_validated_saved_and_returned(fitted, callbacks, monkeypatch):
    validated, trained_with = [], []
    evaluate = keras.Model.evaluate

    def spy(self, *arguments, **others):
        result = evaluate(self, *arguments, **others)
        validated.append(trainable(self))
        trained_with.append([average.numpy() for average in self.optimizer.averages.values])
        return result

    monkeypatch.setattr(keras.Model, "evaluate", spy)
    trained, saved = fitted(
        "weight_averaging=ema", "weight_averaging.decay=0.5", "schedule=constant", f"callbacks={callbacks}"
    )
    assert len(validated) == 3
    for averages, weights in zip(validated, trained_with, strict=True):
        assert all((average != weight).any() for average, weight in zip(averages, weights, strict=True))
    assert any(all(map(np.array_equal, averages, trainable(trained))) for averages in validated)
    assert all(map(np.array_equal, trainable(saved), trainable(trained)))


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_ema_changes_nothing_in_how_the_weights_are_trained(fitted):
    plain, _ = fitted("callbacks=none")
    averaged, _ = fitted("callbacks=none", "weight_averaging=ema")
    averaging.swap(averaged)
    assert all(map(np.array_equal, trainable(plain), trainable(averaged)))


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("averages", ["weight_averaging=ema", "weight_averaging=lookahead"])
@pytest.mark.slow
def test_stopped_within_an_epoch_and_resumed_it_ends_the_same(compose, averages, undisturbed_and_resumed):
    overrides = ("model.filters=[4,8]", "epochs=3", "augmentation=[alternating_flip,mixup,cutmix]", averages)
    experiment = Experiment.prepare(compose(*TINY, *overrides, "state.minutes=1e-9"))
    (_, undisturbed), (_, resumed) = undisturbed_and_resumed(experiment, (1, 2))
    assert resumed == undisturbed


@pytest.mark.usefixtures("eager")
def test_lookahead_starts_from_the_initial_weights(fitted, compose):
    initial = Experiment.prepare(compose(*TINY, "model.filters=[4,8]")).model()
    slow, _ = fitted("callbacks=none", "weight_averaging=lookahead", "weight_averaging.sync_period=1000")
    assert all(map(np.array_equal, trainable(slow), trainable(initial)))


@pytest.mark.parametrize(
    "setting", [{"name": "ema", "decay": 0.9}, {"name": "lookahead", "sync_period": 3, "slow_step_size": 0.5}]
)
def test_optimizer_comes_back_from_its_configuration(setting):
    optimizer = build(**setting)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert again.get_config() == optimizer.get_config()

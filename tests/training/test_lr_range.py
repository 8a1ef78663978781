"""The learning-rate range test: losses of single steps, where it ends, what it suggests."""

from __future__ import annotations

from types import SimpleNamespace

import mlflow
import numpy as np
import pytest

from cifar import tracking
from cifar.runtime.errors import TrainingError
from cifar.training import trainer
from cifar.training.experiment import Experiment
from cifar.training.lr_range import RangeTest

STEPS, BATCH, IMAGES = 40, 10, 395


class Model:
    """A stand-in for a model with one weight."""

    def __init__(self):
        self.weights, self.stop_training = [np.ones(1)], False

    def get_weights(self) -> list[np.ndarray]:
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.weights = weights


def run_test(losses: list[float]) -> RangeTest:
    """The test after epochs of 40 steps with these losses, the last batch of an epoch half of the others."""
    experiment = SimpleNamespace(
        settings=SimpleNamespace(batch_size=BATCH, optimizer=SimpleNamespace(lr=1e-3)),
        phases=[None],
        order=SimpleNamespace(count=IMAGES),
        steps_per_epoch=STEPS,
        schedule=lambda phase: lambda lr: lambda step: lr * 1.2**step,
    )
    test = RangeTest(experiment)
    test.set_model(Model())
    test.on_train_begin()
    for step in range(len(losses)):
        sizes = [BATCH] * (step % STEPS) + [BATCH if (step + 1) % STEPS else IMAGES % BATCH]
        mean = np.average(losses[step - step % STEPS : step + 1], weights=sizes)
        test.model.weights[0] += 1
        test.on_train_batch_end(step % STEPS, {"loss": mean})
        if test.model.stop_training:
            break
    test.on_train_end()
    return test


def test_losses_are_those_of_single_steps():
    losses = list(np.random.default_rng(0).uniform(1, 2, 2 * STEPS))
    assert list(map(float, run_test(losses).losses)) == pytest.approx(losses)


def test_ends_where_the_loss_explodes_with_the_initial_weights():
    test = run_test([2.0] * 20 + [1.0] * 20 + [50.0] * 20)
    assert len(test.losses) == 2 * 20 + 1
    assert test.model.weights[0] == 1
    assert test.stop_reason.startswith("range test: the average loss is lowest, 1.1")
    assert test.stop_reason.endswith(f"suggested: optimizer.lr={1e-4 * 1.2**39:.2g}")


def test_says_that_the_loss_has_not_risen():
    test = run_test([2.0] * 20 + [1.0] * 20)
    assert test.model.weights[0] == 41
    assert test.stop_reason.endswith("; the loss has hardly risen since: a higher schedule.final tests higher rates")


def test_a_loss_that_is_not_finite_fails_the_run():
    with pytest.raises(TrainingError, match=r"^the loss is nan at the learning rate 0.006.*; a lower schedule.final"):
        run_test([2.0] * 10 + [float("nan")])


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_is_a_run_with_a_picture(compose):
    overrides = ("data=digits", "data.limit=120", "batch_size=18", "augmentation=none", "model.filters=[4]",
                 "model.classifier.units=[]", "optimizer=sgd", "epochs=9")  # fmt: skip
    settings = compose(*overrides, "sweep=lr_range")
    tracking.connect(settings.tracking.uri)
    experiment = Experiment.prepare(settings)
    with tracking.start(settings.tracking) as run:
        trainer.fit(experiment, experiment.compiled_model(), run)
    client = mlflow.MlflowClient(settings.tracking.uri)
    assert "pictures/lr_range.png" in [file.path for file in client.list_artifacts(run.id, "pictures")]
    assert "suggested: optimizer.lr=" in client.get_run(run.id).data.tags["stop_reason"]


def test_replaces_what_a_recipe_says(compose):
    settings = compose("experiment=speedrun94", "sweep=lr_range", "~schedule.warmup_fraction")
    found = settings.schedule.name, list(settings.callbacks), settings.weight_averaging.name, settings.evaluates_test
    assert found == ("lr_range", ["lr_range"], "none", False)
    assert settings.model.name == "airbench"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["callbacks=lr_range"], "callbacks.lr_range: needs schedule=lr_range and finetune.epochs=0"),
        (["sweep=lr_range", "batch_size=500"], "callbacks.lr_range: 3 steps are too few; epochs=17 is enough"),
        (["sweep=lr_range", "schedule.initial=2", "schedule.final=1"],
         "schedule.initial=2: should be less than schedule.final=1"),
    ],
)  # fmt: skip
def test_refused(mistake, overrides, line):
    assert mistake("data=digits", *overrides) == line

"""`minutes`: a clock of the test's own decides the epochs, and the training is that of a run with these epochs."""

from __future__ import annotations

import itertools

import mlflow
import pytest

from cifar import tracking
from cifar.training import budget, trainer
from cifar.training.budget import Cost
from cifar.training.experiment import Experiment
from helpers.runs import TINY

SETTINGS = (*TINY, "model.classifier.units=[]", "augmentation=[shift]", "callbacks=[checkpoint]")


@pytest.mark.parametrize(("seconds", "epochs"), [(130, 4), (129, 3), (30, 1), (0, 1), (-10, 1)])
def test_as_many_epochs_as_fit_and_at_least_one(seconds, epochs):
    assert Cost(compilation=30, epoch=25).epochs(seconds) == epochs


def clock():
    """A clock that goes on by a second at each look."""
    return itertools.count().__next__


@pytest.mark.slow  # two trainings
@pytest.mark.usefixtures("eager")
def test_training_is_that_of_a_run_with_these_epochs(compose, capsys):
    def trained(experiment, model):
        with tracking.start(experiment.settings.tracking) as run:
            return trainer.weights_sha256(trainer.fit(experiment, model, run))

    experiment = Experiment.prepare(compose(*SETTINGS, "minutes=0.3"))
    tracking.connect(experiment.settings.tracking.uri)
    model = experiment.compiled_model()
    # Three steps and the end of an epoch take 4 s, compilation 1 s, the measurement 9 s: 8 s of 18 s are left.
    chosen = budget.fitted(experiment, model, clock())
    assert chosen.settings.epochs == 2
    assert capsys.readouterr().out == "minutes=0.3: epochs=2, of 4 s\n"
    other = Experiment.prepare(compose(*SETTINGS, "epochs=2"))
    assert trained(chosen, model) == trained(other, other.compiled_model())


@pytest.mark.usefixtures("eager")
def test_one_epoch_that_takes_longer_is_a_warning(compose, capsys):
    experiment = Experiment.prepare(compose(*SETTINGS, "minutes=0.01"))
    assert budget.fitted(experiment, experiment.compiled_model(), clock()).settings.epochs == 1
    assert capsys.readouterr().err == "warning: minutes=0.01: one epoch takes 0:05\n"


def test_unfinished_run_has_the_epochs_that_it_has_recorded(compose):
    def settings(minutes):
        return compose(*TINY, f"minutes={minutes}")

    experiment = Experiment.prepare(settings(1)).with_epochs(7)
    tracking.connect(experiment.settings.tracking.uri)
    with pytest.raises(KeyboardInterrupt), tracking.start(experiment.settings.tracking) as run:
        run.log_settings(experiment.settings)
        run.log_dataset(experiment.dataset)
        raise KeyboardInterrupt
    assert tracking.newest_unfinished(settings(2), experiment.dataset) is None
    found = tracking.newest_unfinished(settings(1), experiment.dataset)
    assert (found.id, found.epochs) == (run.id, 7)
    assert mlflow.get_run(run.id).data.params["epochs"] == "7"
    found.lock.release()


@pytest.mark.parametrize("other", ["finetune.epochs=2", "distribute=data_parallel"])
def test_refused(mistake, monkeypatch, other):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    backend = "jax" if "distribute" in other else "tensorflow"
    line = mistake("data=digits", "minutes=1", other, f"backend={backend}")
    assert line.startswith(
        "minutes=1: decides the epochs of one phase, measured by one process; needs finetune.epochs=0"
    )

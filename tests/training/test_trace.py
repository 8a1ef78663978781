"""`profile=true`: which steps are traced, and that the trace is an artifact of the run."""

from __future__ import annotations

import mlflow
import pytest
import tensorflow as tf

from cifar import tracking
from cifar.runtime import interrupts
from cifar.training import trainer
from cifar.training.experiment import Experiment
from cifar.training.trace import Trace
from helpers.runs import TINY


@pytest.mark.parametrize(
    ("steps", "first", "last"),
    [(100, (0, 10), (0, 19)), (15, (0, 7), (0, 14)), (2, (0, 1), (0, 1)), (1, (0, 0), (0, 0))],
)
def test_steps_of_the_first_epoch_are_traced(steps, first, last, monkeypatch, tmp_path):
    found, place = [], None
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: found.append(place))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: found.append(place))
    trace = Trace(tmp_path)
    trace.set_params({"steps": steps})
    for epoch in range(2):
        for step in range(steps):
            place = epoch, step
            trace.on_train_batch_begin(step)
            trace.on_train_batch_end(step, {"loss": 1.0})
        trace.on_test_begin()
    assert found == [first, last]


@pytest.mark.usefixtures("eager")
def test_trace_is_an_artifact(compose):
    experiment = Experiment.prepare(compose(*TINY, "profile=true"))
    tracking.connect(experiment.settings.tracking.uri)
    with interrupts.handled(), tracking.start(experiment.settings.tracking) as run:
        trainer.fit(experiment, experiment.compiled_model(), run)
    client, folder = mlflow.MlflowClient(), "tensorboard/plugins/profile"
    (time,) = client.list_artifacts(run.id, folder)
    assert any(file.path.endswith(".xplane.pb") for file in client.list_artifacts(run.id, time.path))

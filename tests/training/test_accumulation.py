"""A batch in micro-batches: the weights, averages and metrics of the whole batch, and resumed to the bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cifar.runtime.paths import ROOT
from cifar.training import flops
from cifar.training.experiment import Experiment
from helpers.processes import run_python, run_warm
from helpers.runs import TINY

# 40 images in batches of 27 leave 13 for the last: a micro-batch of 9 and one of 4.
SETTINGS = ("data=digits", "data.limit=50", "model=cnn", "model.classifier.pooling=average",
            "augmentation=[flip,mixup]", "batch_size=27", "epochs=2", "optimizer=sgd", "optimizer.clip_norm=0.5",
            "schedule=cosine", "weight_averaging=ema",
            "model.blocks=[{filters:4,normalization:none,pool:max}]")  # fmt: skip
SCRIPT = """
import json, sys
from helpers.runs import composed
from cifar.config.compose import resolve
from cifar.distributed import devices
from cifar.training.experiment import Experiment

found = []
for steps in (1, 3):
    settings = resolve(composed(f"accumulate_steps={steps}", *sys.argv[1:]))
    experiment = Experiment.prepare(settings)
    devices.start(settings, experiment.dataset, experiment.order.count)
    model = experiment.compiled_model()
    fitted = model.fit(experiment.training_batches(0, 0, 2), steps_per_epoch=2, epochs=2, shuffle=False, verbose=0)
    values = [*model.variables, *model.optimizer.variables]
    found.append([[float(x) for value in values for x in value.numpy().ravel()],
                  fitted.history, int(model.optimizer.iterations)])
print("found:", json.dumps(found))
"""


@pytest.mark.usefixtures("eager")
def test_a_step_is_that_of_the_batch(compose):
    def trained(*overrides):
        experiment = Experiment.prepare(compose(*SETTINGS, "optimizer=adam", *overrides))
        model = experiment.compiled_model()
        logs = model.train_on_batch(*next(iter(experiment.training_batches(0, 1, 1))), return_dict=True)
        values = [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]
        return logs, values, flops.sums(flops.costs(model))

    (logs, whole, costs), (micro_logs, parts, micro_costs) = trained(), trained("accumulate_steps=3")
    assert micro_logs == pytest.approx(logs, abs=1e-6)
    assert micro_costs == costs
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_micro_batches_train_as_the_batch_does(backend):
    run = run_warm if backend == "tensorflow" else run_python
    done = run("-c", SCRIPT, f"backend={backend}", *SETTINGS, PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}")
    assert done.code == 0, done.stderr
    whole, parts = json.loads(done.stdout.rpartition("found: ")[2])
    assert parts[0] == pytest.approx(whole[0], abs=2e-6)
    assert parts[1].keys() == whole[1].keys()
    for name, values in whole[1].items():
        assert parts[1][name] == pytest.approx(values, abs=2e-6)
    assert parts[2] == whole[2] == 4  # updates


@pytest.mark.slow  # three trainings
@pytest.mark.usefixtures("eager")
def test_stopped_within_an_epoch_and_resumed_it_ends_the_same(compose, undisturbed_and_resumed):
    overrides = (*TINY, "model.classifier.units=[]", "epochs=2", "accumulate_steps=3", "state.minutes=1e-9")
    (_, undisturbed), (_, resumed) = undisturbed_and_resumed(Experiment.prepare(compose(*overrides)), (1, 2))
    assert resumed == undisturbed


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["accumulate_steps=3"], "accumulate_steps=3: should divide batch_size=128"),
        (["accumulate_steps=2", "distribute=mirrored"],
         "accumulate_steps=2: distribute=mirrored computes a batch at once; accepted: 1"),
        (["accumulate_steps=0"], "accumulate_steps=0: should be greater than 0"),
    ],
)  # fmt: skip
def test_refused(mistake, overrides, line):
    assert mistake("data=digits", *overrides) == line

"""The cost of a training on this machine, measured without training."""

from __future__ import annotations

import itertools
import statistics
import time

import keras
import tensorflow as tf

from cifar.distributed import devices
from cifar.runtime import terminal
from cifar.training import flops, pipeline, trainer
from cifar.training.experiment import EVALUATION_BATCH, Experiment
from cifar.training.loop import trainable_parameters

WARM_UP, MEASURED = 2, 3
"""Steps before those that are measured, in which TensorFlow compiles, and as many that are."""


class Stopwatch(keras.callbacks.Callback):
    """When each step of training, or of validation, has ended."""

    def __init__(self):
        super().__init__()
        self._ends: list[float] = []

    @property
    def seconds(self) -> float:
        """That a step takes from the end of the one before: what is typical of the measured ones."""
        measured = self._ends[-MEASURED - 1 :]
        return statistics.median(end - start for start, end in itertools.pairwise(measured))

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # waits until it is there
        self._ends.append(time.perf_counter())

    on_test_batch_end = on_train_batch_end


def show_costs(experiment: Experiment, model: keras.Model) -> None:
    """Show the cost of each layer of a compiled `model`, and of each phase the time that an epoch takes here.

    The steps that are measured are the real ones on the real batches; the model is of no use afterwards.
    """
    rows = flops.costs(trainer.on_one_device(experiment, model))
    print(*trainer.summary(experiment, model), f"\n{flops.table(rows, terminal.width())}\n", sep="\n", flush=True)
    batch = experiment.settings.batch_size
    at_once = experiment.micro_batch_size
    kind = "batch" if at_once == batch else "micro-batch"
    activations = at_once * flops.sums(rows)["model/activation_bytes"]
    validation = experiment.validation_batches()
    phases = [("phase", "epochs", "learning", "ms a step", "images/s", "seconds an epoch", "in all")]
    with devices.scope(experiment.settings.distribute):
        for number, phase in enumerate(experiment.phases):
            if number:
                experiment.compile(model, phase)
            step, epoch = _measured(experiment, model, validation)
            phases.append((
                f"from {phase.unfreeze_from or 'the first layer'} on" if number else "training",
                f"{phase.epochs}", f"{trainable_parameters(model):,}", f"{1000 * step:,.1f}", f"{batch / step:,.0f}",
                f"{epoch:,.1f}", terminal.duration(phase.epochs * epoch),
            ))  # fmt: skip
    print(terminal.table(phases, terminal.width()))
    print(
        f"\n{experiment.steps_per_epoch:,} steps an epoch; the activations of a {kind} of {at_once} take "
        f"{activations / 1e6:,.1f} MB"
    )


def _measured(experiment: Experiment, model: keras.Model, validation: tf.data.Dataset) -> tuple[float, float]:
    """Seconds of a step of training, and of an epoch with its validation."""
    steps, count = experiment.steps_per_epoch, WARM_UP + MEASURED
    looks = pipeline.steps_per_epoch(len(experiment.dataset.val), EVALUATION_BATCH)
    train, test = Stopwatch(), Stopwatch()
    batches = experiment.training_batches(0, 0, epochs=-(-count // steps))
    model.fit(batches, steps_per_epoch=count, callbacks=[train], shuffle=False, verbose=0)
    model.evaluate(validation.repeat(), steps=count, callbacks=[test], verbose=0)
    return train.seconds, steps * train.seconds + looks * test.seconds

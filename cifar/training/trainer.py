"""Fit and evaluate an experiment, recording what happens."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cifar import plots, tracking
from cifar.config.settings import Settings
from cifar.distributed import devices
from cifar.distributed.shard import Shard
from cifar.files.safe_io import refusing
from cifar.interfaces import Evaluation
from cifar.nn import layers
from cifar.optim import averaging
from cifar.runtime import interrupts
from cifar.runtime.job_report import report
from cifar.tracking import Run
from cifar.tracking.names import WEIGHTS
from cifar.training import flops, pipeline, tta
from cifar.training.callbacks import keeper
from cifar.training.checkpointer import Saver
from cifar.training.experiment import Experiment
from cifar.training.history import Recorder
from cifar.training.progress import Progress

PREVIEW_IMAGES, PREVIEW_VERSIONS = 8, 9
EVALUATION_BATCH = 128  # larger ones are no faster on a CPU, and take more memory than training does


def describe(experiment: Experiment, model: keras.Model, run: Run) -> None:
    """Show and record what is about to run: settings, data, model, and a sheet of augmented images."""
    data = experiment.dataset
    print(f"run {run.id}: {summary(experiment, model)}{run.store}")
    if run.is_described:
        return
    run.log_settings(experiment.settings)
    run.log_dataset(data)
    run.log_tags({"precision": keras.config.dtype_policy().name,
                  "devices": devices.device_count(experiment.settings.distribute)})
    rows = flops.costs(on_one_device(experiment, model))
    run.log_metrics({"model/parameters": model.count_params(), **flops.sums(rows)})
    run.log_text(flops.table(rows), "model.txt")
    originals, augmented = pipeline.preview(
        data.train,
        experiment.task,
        experiment.augmentation(),
        seed=experiment.settings.seed,
        rows=PREVIEW_IMAGES,
        versions=PREVIEW_VERSIONS,
        fill_mode=experiment.settings.fill_mode,
    )
    run.log_figures({"augmentation": lambda: plots.augmented_sheet(originals, augmented)})
    run.log_described()


def summary(experiment: Experiment, model: keras.Model) -> str:
    """Model and data in a line."""
    data = experiment.dataset
    return (f"{experiment.settings.model['name']} with {model.count_params():,} parameters on {data.name}, "
            f"{len(data.train):,} images for training, {len(data.val):,} for validation, {len(data.test):,} for the "
            "test")


def fit(experiment: Experiment, model: keras.Model, run: Run, resumed: bool = False) -> keras.Model:
    """Train `model` from where the run stands, phase by phase, on all devices.

    The model of a run that is `resumed` may lack the weights that it should begin with. Returns a model, on one device,
    with the weights that are kept: those of the epoch that `best/epoch` names, to which all of `best/` belongs.
    """
    settings, steps = experiment.settings, experiment.steps_per_epoch
    progress = Progress(settings.batch_size, steps)
    kept_by = keeper(settings.callbacks)
    monitor = settings.callbacks[kept_by]["monitor"] if kept_by else None
    recorder = Recorder(len(experiment.dataset.train) / steps, monitor, progress)
    chosen = experiment.callbacks(run.folder)
    saver = Saver(
        run.folder / "state", recorder, chosen, steps, settings.state.minutes, lambda: _log_history(recorder, run)
    )
    if resumed:
        print(f"resumed {_reached(saver, steps)}", flush=True)
    run.log_start(settings, saver.position[0] + 1, saver.position[1])
    _log_history(recorder, run)
    shard, validation = batches_for(experiment, model)
    # The chosen callbacks see the averages of weights, in which a phase ends; the state has both in their places.
    swap = functools.partial(averaging.swap, model)
    averages_in = keras.callbacks.LambdaCallback(on_test_begin=lambda logs: swap(), on_train_end=lambda logs: swap())
    averages_out = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: swap())
    callbacks = [progress, recorder, averages_in, *chosen, averages_out, saver]
    with interrupts.deferred(), devices.scope(settings.distribute), contextlib.closing(progress):
        if resumed and saver.position == (0, 0):  # it was ended before it had a state
            begun = experiment.model(tracking.weights_of)
            for variable, value in zip(model.variables, begun.variables, strict=True):
                variable.assign(keras.ops.convert_to_numpy(value))
        for number, phase in list(enumerate(experiment.phases))[saver.phase :]:
            if number:
                experiment.compile(model, phase)
                place = phase.from_layer or "the first layer"
                print(f"fine-tuning from {place} on: {learning(model):,} parameters learn")
            saver.enter(number)
            progress.epochs = saver.first_epoch + sum(left.epochs for left in experiment.phases[number:])
            report(epochs=progress.epochs)
            last = saver.first_epoch + phase.epochs
            _fit_phase(experiment, model, saver, last, shard, validation, callbacks)
    if kept_by != "checkpoint":
        model.save_weights(run.folder / WEIGHTS)
    epoch = chosen[[*settings.callbacks].index(kept_by)].best_epoch + 1 if kept_by else recorder.epochs
    devices.leave()
    trained = on_one_device(experiment, model)
    trained.load_weights(run.folder / WEIGHTS)
    run.log_tags({"weights_sha256": weights_sha256(trained)})
    run.log_metrics(recorder.best(epoch))
    run.keep_files()
    best = epoch if kept_by else None
    run.log_figures({"learning_curves": lambda: plots.learning_curves(recorder.history, best)})
    return trained


def _reached(saver: Saver, steps: int) -> str:
    """Where in the training of `steps` an epoch the `saver` stands."""
    epoch, step = saver.position
    if step:
        return f"in epoch {epoch + 1}, after step {step} of {steps}"
    return f"after epoch {epoch}" if epoch else "from the start, since no state was saved"


def _fit_phase(
    experiment: Experiment,
    model: keras.Model,
    saver: Saver,
    last: int,
    shard: Shard,
    validation: tf.data.Dataset,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Train from where the `saver` stands to the end of epoch `last`, from 1, or until a callback ends the phase."""
    steps = experiment.steps_per_epoch
    while True:
        epoch, step = saver.position
        # An epoch of which a part is done is a fit of its own; where all is done, a fit of no epoch only restores.
        until = epoch if saver.stopped else min(last, epoch + 1 if step else last)
        if step:
            # Keras makes its metrics' variables at the first batch; within an epoch they are part of the state.
            model.evaluate(validation.take(1), verbose=0)
        model.fit(
            training_batches(experiment, shard, min(epoch, last - 1), step, last),
            initial_epoch=epoch,
            epochs=until,
            steps_per_epoch=steps - step,
            validation_data=validation,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
        if saver.stopped or saver.position[0] >= last:
            return


def batches_for(experiment: Experiment, model: keras.Model) -> tuple[Shard, tf.data.Dataset]:
    """What this process reads of each batch, and the batches for validation; `model` is made to cut their filling."""
    settings, data = experiment.settings, experiment.dataset
    shard = devices.shard(settings.distribute)
    size = shard.filled(EVALUATION_BATCH, EVALUATION_BATCH)
    devices.cut_filling(model, shard, (len(data.train), settings.batch_size), (len(data.val), size))
    return shard, pipeline.evaluation_batches(data.val, experiment.task, size, shard)


def training_batches(experiment: Experiment, shard: Shard, epoch: int, step: int, epochs: int) -> tf.data.Dataset:
    """The batches of training from (`epoch`, `step`) on, both from 0, to the end of epoch `epochs`, from 1."""
    settings = experiment.settings
    return pipeline.training_batches(
        experiment.dataset.train,
        experiment.task,
        experiment.augmentation(),
        seed=settings.seed,
        batch_size=settings.batch_size,
        epochs=epochs,
        first_epoch=epoch,
        first_step=step,
        fill_mode=settings.fill_mode,
        shard=shard,
    )


def learning(model: keras.Model) -> int:
    """How many parameters learn."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def on_one_device(experiment: Experiment, model: keras.Model) -> keras.Model:
    """`model`, or where it is on several devices one like it."""
    return model if devices.device_count(experiment.settings.distribute) == 1 else experiment.model()


def _log_history(recorder: Recorder, run: Run) -> None:
    """Record the epochs that the store does not have yet: after a save, so that a resumed run sends none twice."""
    for epoch in range(run.last_step + 1, recorder.epochs + 1):
        run.log_metrics(recorder.metrics(epoch), step=epoch)


def evaluate(experiment: Experiment, model: keras.Model, run: Run) -> None:
    """Evaluate `model` on the test split; show and record that, then what may fail: pictures and the model itself."""
    evaluation = test(experiment, model)
    print("test:", "  ".join(f"{name} {value:.4f}" for name, value in evaluation.metrics.items()))
    for note in evaluation.notes:
        print(note)
    run.log_evaluation(evaluation, "test")
    run.log_figures(evaluation.figures)
    with run.optional("MLflow model"):
        run.log_model(layers.portable(model), experiment.dataset.test.images[:4])
    print(f"python -m cifar ui shows run {run.id} with its pictures, tables and model")


def test(experiment: Experiment, model: keras.Model) -> Evaluation:
    """What the task says of the model's outputs on the test split, in the views that the settings name."""
    split, task = experiment.dataset.test, experiment.task
    model, loss = tta.averaged(model, experiment.settings.evaluate.tta), task.loss()
    total, found = 0.0, []
    for images, targets in pipeline.evaluation_batches(split, task, EVALUATION_BATCH).as_numpy_iterator():
        outputs = model.predict_on_batch(images)
        total += len(images) * float(loss(targets, outputs))
        found.append(task.predictions(outputs))
    evaluation = task.evaluate({name: np.concatenate([part[name] for part in found]) for name in found[0]}, split)
    evaluation.metrics = {"loss": total / len(split), **evaluation.metrics}
    return evaluation


def restore(settings: Settings, weights: Path, fingerprint: str) -> tuple[Experiment, keras.Model]:
    """A finished run's experiment and model; raises `InputError` where its data is not what it was."""
    experiment = Experiment.of_run(settings, fingerprint)
    return experiment, with_weights(experiment, weights)


def with_weights(experiment: Experiment, weights: Path) -> keras.Model:
    """The experiment's model with the weights of a file; raises `InputError` where they are not its own."""
    model = experiment.model()
    with refusing(weights, "the weights of this run's model"):
        model.load_weights(weights)
    return model


def weights_sha256(model: keras.Model) -> str:
    """SHA-256, in hexadecimal, of all weights in their order."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight.numpy()))
    return digest.hexdigest()

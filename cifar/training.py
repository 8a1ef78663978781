"""Fit and evaluate an experiment, recording what happens."""

from __future__ import annotations

import hashlib
from pathlib import Path

import keras
import numpy as np

from cifar import devices, interrupts, layers, pipeline, plots
from cifar.callbacks import WEIGHTS
from cifar.complexity import count_flops
from cifar.config import Settings
from cifar.contracts import Evaluation, Shard
from cifar.errors import InputError
from cifar.experiment import Experiment
from cifar.progress import Progress
from cifar.recording import Recorder, Saver
from cifar.reporting import report
from cifar.tracking import Run
from cifar.untrusted import refusing

PREVIEW_IMAGES, PREVIEW_VERSIONS = 8, 9
EVALUATION_BATCH = 128  # larger ones are no faster on a CPU, and take more memory than training does


def describe(experiment: Experiment, model: keras.Model, run: Run) -> None:
    """Show and record what is about to run: settings, machine, data, model, and a sheet of augmented images."""
    data = experiment.dataset
    print(f"run {run.id}: {experiment.settings.model['name']} with {model.count_params():,} parameters on {data.name}, "
          f"{len(data.train):,} images for training, {len(data.val):,} for validation, {len(data.test):,} for the test")
    if run.is_described:
        return
    run.log_settings(experiment.settings)
    run.log_environment()
    run.log_dataset(data)
    run.log_tags({"precision": keras.config.dtype_policy().name,
                  "devices": devices.device_count(experiment.settings.distribute)})
    flops = count_flops(_on_one_device(experiment, model))
    run.log_metrics({"model/parameters": model.count_params(), "model/flops": flops})
    originals, augmented = pipeline.preview(
        data.train,
        experiment.augmentation(),
        seed=experiment.settings.seed,
        rows=PREVIEW_IMAGES,
        versions=PREVIEW_VERSIONS,
        fill_mode=experiment.settings.fill_mode,
    )
    run.log_figure(plots.augmented_sheet(originals, augmented), "augmentation")
    run.log_described()


def fit(experiment: Experiment, model: keras.Model, run: Run) -> keras.Model:
    """Train `model` from where the run stands, on all devices.

    Returns a model, on one device, with the weights of the best epoch, where a callback kept them, else the last.
    """
    settings, steps = experiment.settings, experiment.steps_per_epoch
    report(epochs=settings.epochs)
    progress = Progress(settings.batch_size, steps, settings.epochs)
    monitor = settings.callbacks.get("checkpoint", {}).get("monitor", "val/loss")
    recorder = Recorder(len(experiment.dataset.train) / steps, monitor, progress)
    chosen = experiment.callbacks(run.folder)
    saver = Saver(
        run.folder / "state", recorder, chosen, steps, settings.state.minutes, lambda: _log_history(recorder, run)
    )
    _log_history(recorder, run)
    shard, data = devices.shard(settings.distribute), experiment.dataset
    evaluation_batch = shard.filled(EVALUATION_BATCH, EVALUATION_BATCH)
    validation = pipeline.evaluation_batches(data.val, experiment.task, evaluation_batch, shard)
    devices.cut_filling(model, shard, (len(data.train), settings.batch_size), (len(data.val), evaluation_batch))
    with interrupts.deferred(), devices.scope(settings.distribute):
        while True:
            epoch, step = saver.position
            # An epoch of which a part is done is a fit of its own; where all is done, a fit of no epoch only restores.
            last = epoch if saver.stopped else min(settings.epochs, epoch + 1 if step else settings.epochs)
            if step:
                # Keras makes its metrics' variables at the first batch; within an epoch they are part of the state.
                model.evaluate(validation.take(1), verbose=0)
            model.fit(
                _training_batches(experiment, min(epoch, settings.epochs - 1), step, shard),
                initial_epoch=epoch,
                epochs=last,
                steps_per_epoch=steps - step,
                validation_data=validation,
                callbacks=[progress, recorder, *chosen, saver],
                shuffle=False,
                verbose=0,
            )
            if saver.stopped or saver.position[0] >= settings.epochs:
                break
    if not (run.folder / WEIGHTS).exists():
        model.save_weights(run.folder / WEIGHTS)
    devices.leave()
    trained = _on_one_device(experiment, model)
    trained.load_weights(run.folder / WEIGHTS)
    run.log_tags({"weights_sha256": weights_sha256(trained)})
    run.log_metrics(recorder.best())
    run.log_figure(plots.learning_curves(recorder.history, recorder.best_epoch), "learning_curves")
    return trained


def _on_one_device(experiment: Experiment, model: keras.Model) -> keras.Model:
    """`model`, or where it is on several devices one like it."""
    return model if devices.device_count(experiment.settings.distribute) == 1 else experiment.model()


def _training_batches(experiment: Experiment, epoch: int, step: int, shard: Shard):
    settings = experiment.settings
    return pipeline.training_batches(
        experiment.dataset.train,
        experiment.task,
        experiment.augmentation(),
        seed=settings.seed,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        first_epoch=epoch,
        first_step=step,
        fill_mode=settings.fill_mode,
        shard=shard,
    )


def _log_history(recorder: Recorder, run: Run) -> None:
    """Record the epochs that the store does not have yet: after a save, so that a resumed run sends none twice."""
    for epoch in range(run.last_step + 1, recorder.epochs + 1):
        run.log_metrics(recorder.metrics(epoch), step=epoch)


def evaluate(experiment: Experiment, model: keras.Model, run: Run) -> None:
    """Evaluate `model` on the test split; show and record that, and record the model and its weights."""
    evaluation = test(experiment, model)
    print("test:", "  ".join(f"{name} {value:.4f}" for name, value in evaluation.metrics.items()))
    run.log_evaluation(evaluation, "test")
    run.log_model(layers.portable(model), experiment.dataset.test.images[:4])
    run.keep_files()
    print(f"python -m cifar ui shows run {run.id} with its pictures, tables and model")


def test(experiment: Experiment, model: keras.Model) -> Evaluation:
    """What the task says of the model's outputs on the test split."""
    split = experiment.dataset.test
    outputs = model.predict(pipeline.evaluation_batches(split, experiment.task, EVALUATION_BATCH), verbose=0)
    return experiment.task.evaluate(outputs, split)


def restore(settings: Settings, weights: Path, fingerprint: str) -> tuple[Experiment, keras.Model]:
    """A finished run's experiment and model; raises `InputError` where its data is not what it was."""
    experiment = Experiment.prepare(settings)
    if experiment.dataset.fingerprint != fingerprint:
        raise InputError(f"data: the images are not those of the run, whose fingerprint is {fingerprint[:12]}…, not "
                         f"{experiment.dataset.fingerprint[:12]}…")
    model = experiment.model()
    with refusing(weights, "the weights of this run's model"):
        model.load_weights(weights)
    return experiment, model


def weights_sha256(model: keras.Model) -> str:
    """SHA-256, in hexadecimal, of all weights in their order."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight.numpy()))
    return digest.hexdigest()

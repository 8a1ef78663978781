"""Fit and evaluate an experiment, recording what happens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np

from cifar import plots, tracking
from cifar.config.settings import Settings
from cifar.distributed import devices
from cifar.files import atomic
from cifar.files.memory_file import memory_file
from cifar.files.safe_io import refusing
from cifar.interfaces import Evaluation
from cifar.nn import layers
from cifar.runtime import interrupts
from cifar.runtime.paths import WEIGHTS
from cifar.runtime.status import status
from cifar.runtime.terminal import in_columns, line_width
from cifar.tracking import Run
from cifar.training import calibration, diagnosis, flops, pipeline, tta
from cifar.training.callbacks import keeper
from cifar.training.experiment import EVALUATION_BATCH, Experiment
from cifar.training.loop import Loop
from cifar.training.sampling import Balanced

PREVIEW_IMAGES, PREVIEW_VERSIONS = 8, 9
INDENT = "\n    "
TEST = "test: "
Change = Callable[[np.ndarray, int], np.ndarray]
"""Changes a batch of images, the first of which has this number in its split."""


def describe(experiment: Experiment, model: keras.Model, run: Run) -> None:
    """Show and record what is about to run: settings, data, model, and a sheet of augmented images."""
    data = experiment.dataset
    lines = [*summary(experiment, model), *([f"recorded in {run.store}"] if run.store else [])]
    print(f"run {run.id}: {INDENT.join(lines)}")
    if run.is_described:
        return
    run.log_settings(experiment.settings)
    run.log_extensions()
    run.log_dataset(data)
    run.log_tags(
        {"precision": keras.config.dtype_policy().name, "devices": devices.device_count(experiment.settings.distribute)}
    )
    with status("counting the model's operations"):
        rows = flops.costs(on_one_device(experiment, model))
    run.log_metrics({"model/parameters": model.count_params(), **flops.sums(rows)})
    run.log_text(flops.table(rows), "model.txt")
    with status("drawing augmented images"):
        originals, augmented = pipeline.preview(
            data.train,
            experiment.task,
            experiment.augmentation(),
            seed=experiment.settings.seed,
            rows=PREVIEW_IMAGES,
            versions=PREVIEW_VERSIONS,
        )
        draw = {"augmentation": lambda: plots.augmented_sheet(originals, augmented)}
        run.log_figures(draw, f"{data.name}, training images")
    run.log_described()


def summary(experiment: Experiment, model: keras.Model) -> list[str]:
    """Model and data, in a line each."""
    data, order = experiment.dataset, experiment.order
    balanced = f", {order.each:,} of each class an epoch" if isinstance(order, Balanced) else ""
    return [
        f"{experiment.settings.model.name} with {model.count_params():,} parameters",
        f"{data.name}: {len(data.train):,} images for training{balanced}, {len(data.val):,} for validation, "
        f"{len(data.test):,} for the test",
    ]


def fit(experiment: Experiment, model: keras.Model, run: Run, resumed: bool = False) -> keras.Model:
    """Train `model`, which is compiled, from where the run stands, phase by phase, on all devices.

    The model of a run that is `resumed` may lack its initial weights. Returns a model, on one device, with the weights
    that are kept: those of the epoch that `best/epoch` names, to which all of `best/` belongs.
    """
    with interrupts.deferred(), devices.scope(experiment.settings.distribute):
        loop = Loop(experiment, model, run)
        if resumed:
            print(f"resumed {loop}", flush=True)
        run.log_start(experiment.settings, loop.epoch + 1, loop.step)
        if resumed and loop.is_at_start:
            model.set_weights(experiment.model(tracking.weights_of).get_weights())
        loop.train()
    if keeper(experiment.settings.callbacks) != "checkpoint":
        with memory_file(WEIGHTS) as path:
            model.save_weights(path)
            atomic.write(run.folder / WEIGHTS, path.read_bytes())
    devices.shutdown()
    trained = on_one_device(experiment, model)
    trained.load_weights(run.folder / WEIGHTS)
    run.log_tags({"weights_sha256": weights_sha256(trained)})
    run.log_metrics(loop.history.best(loop.kept_epoch or len(loop.history)))
    if experiment.settings.schedule.name != "lr_range":  # whose rates are meant to become too high
        for finding in diagnosis.findings(loop.history.epochs, loop.kept_epoch):
            run.log_warning(finding)
    run.keep_files()
    draw = {"learning_curves": lambda: plots.learning_curves(loop.history.epochs, loop.kept_epoch)} | loop.figures
    data = experiment.dataset
    run.log_figures(draw, f"{data.name}, {len(data.train):,} training and {len(data.val):,} validation images")
    return trained


def on_one_device(experiment: Experiment, model: keras.Model) -> keras.Model:
    """`model`, or where it is on several devices one like it."""
    return model if devices.device_count(experiment.settings.distribute) == 1 else experiment.model()


def finish(experiment: Experiment, model: keras.Model, run: Run) -> None:
    """Evaluate `model` on the test split, unless the settings say not to, and record the model itself, calibrated."""
    temperatures = calibration.temperatures(experiment, model)
    run.log_metrics(temperatures)
    if experiment.settings.evaluates_test:
        evaluate(experiment, model, run, calibration.recorded(experiment.settings.evaluate, temperatures))
    else:
        print(
            "test: not evaluated (evaluate.test=false; the default in a sweep's jobs); "
            f"`{run.commands} evaluate {run.id}` evaluates the run on the test images"
        )
    with run.optional("MLflow model"), status("recording the model"):
        portable = calibration.calibrated(layers.portable(model), experiment.settings, temperatures)
        run.log_model(portable, experiment.dataset.val.images[:4])
    print(f"{run.commands} ui shows run {run.id[:8]} with its pictures, tables and model")


def evaluate(experiment: Experiment, model: keras.Model, run: Run, temperature: float | None = None) -> None:
    """Evaluate `model` on the test split; show and record that, then the pictures, which may fail."""
    data = experiment.dataset
    run.log_look(data.test_fingerprint)
    with status(f"evaluating on {len(data.test):,} test images"):
        evaluation = test(experiment, model, temperature)
    print(test_lines(evaluation.metrics), flush=True)
    for note in evaluation.notes:
        print(note)
    run.log_evaluation(evaluation, "test")
    if experiment.settings.total_epochs >= diagnosis.LEAST_EPOCHS:
        for warning in evaluation.warnings:
            run.log_warning(warning)
    with status("drawing pictures"):
        run.log_figures(evaluation.figures, f"{data.name}, {len(data.test):,} test images")


def test_lines(metrics: Mapping[str, float]) -> str:
    """The metrics of the test images in columns: first the main one of the task, then the loss, then the others."""
    main = next(name for name in metrics if name != "loss")
    ordered = {main: metrics[main], "loss": metrics["loss"], **metrics}
    lines = in_columns({name: f"{value:.4f}" for name, value in ordered.items()}, line_width() - len(TEST))
    return TEST + f"\n{' ' * len(TEST)}".join(lines)


def test(
    experiment: Experiment, model: keras.Model, temperature: float | None = None, change: Change | None = None
) -> Evaluation:
    """What the task says of the model's predictions for the test split, each batch of images changed by `change`.

    They are calibrated by the `temperature`, if there is one; the loss is that of the model itself.
    """
    predictions, loss = predicted(experiment, model, change)
    evaluation = calibration.evaluate(experiment.task, predictions, experiment.dataset.test, temperature)
    evaluation.metrics = {"loss": loss, **evaluation.metrics}
    return evaluation


def predicted(
    experiment: Experiment, model: keras.Model, change: Change | None = None
) -> tuple[dict[str, np.ndarray], float]:
    """The predictions for the test split, in the views that the settings name, and the mean loss."""
    split, task = experiment.dataset.test, experiment.task
    model, loss = tta.averaged(model, experiment.settings.evaluate.tta), task.loss()
    total, seen, found = 0.0, 0, []
    for images, targets in pipeline.evaluation_batches(split, task, EVALUATION_BATCH).as_numpy_iterator():
        outputs = model.predict_on_batch(change(images, seen) if change else images)
        total += len(images) * float(loss(targets, outputs))
        seen += len(images)
        found.append(task.predictions(outputs))
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}, total / len(split)


def restore(settings: Settings, weights: Path, fingerprint: str) -> tuple[Experiment, keras.Model]:
    """A finished run's experiment and model; raises `InputError` where its data is not what it was."""
    experiment = Experiment.of_run(settings, fingerprint)
    return experiment, with_weights(experiment, weights)


def with_weights(experiment: Experiment, weights: Path) -> keras.Model:
    """The experiment's model with the weights of a file; raises `InputError` where they are not its own."""
    model = experiment.model()
    load_weights(model, weights)
    return model


def load_weights(model: keras.Model, weights: Path) -> None:
    """Load the weights of a file into `model`; raises `InputError` where they are not its own."""
    with refusing(weights, "the weights of this run's model"):
        model.load_weights(weights)


def weights_sha256(model: keras.Model) -> str:
    """SHA-256, in hexadecimal, of all weights in their order."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight.numpy()).data)
    return digest.hexdigest()

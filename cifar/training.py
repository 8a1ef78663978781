"""Fit and evaluate an experiment, recording what happens."""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path

import keras
import numpy as np

from cifar import interrupts, layers, pipeline, plots
from cifar.callbacks import WEIGHTS, logged_name
from cifar.complexity import count_flops
from cifar.config import Settings
from cifar.contracts import Evaluation
from cifar.errors import InputError, TrainingError
from cifar.experiment import Experiment
from cifar.progress import Progress
from cifar.tracking import Run
from cifar.untrusted import refusing

PREVIEW_IMAGES, PREVIEW_VERSIONS = 8, 9
EVALUATION_BATCH = 256


def describe(experiment: Experiment, model: keras.Model, run: Run) -> None:
    """Show and record what is about to run: settings, machine, data, model, and a sheet of augmented images."""
    data = experiment.dataset
    print(f"run {run.id}: {experiment.settings.model['name']} with {model.count_params():,} parameters on {data.name}, "
          f"{len(data.train):,} images for training, {len(data.val):,} for validation, {len(data.test):,} for the test")
    run.log_settings(experiment.settings)
    run.log_environment()
    run.log_dataset(data)
    run.log_metrics({"model/parameters": model.count_params(), "model/flops": count_flops(model)})
    originals, augmented = pipeline.preview(
        data.train,
        experiment.augmentation(),
        seed=experiment.settings.seed,
        rows=PREVIEW_IMAGES,
        versions=PREVIEW_VERSIONS,
        fill_mode=experiment.settings.fill_mode,
    )
    run.log_figure(plots.augmented_sheet(originals, augmented), "augmentation")


def fit(experiment: Experiment, model: keras.Model, run: Run) -> None:
    """Train; `model` ends with the weights of the best epoch, where a callback kept them, else of the last."""
    settings, data = experiment.settings, experiment.dataset
    progress = Progress(len(data.train), settings.batch_size, experiment.steps_per_epoch, settings.epochs)
    recorder = Recorder(experiment, run, progress)
    with interrupts.deferred():
        model.fit(
            pipeline.training_batches(
                data.train,
                experiment.task,
                experiment.augmentation(),
                seed=settings.seed,
                batch_size=settings.batch_size,
                epochs=settings.epochs,
                fill_mode=settings.fill_mode,
            ),
            epochs=settings.epochs,
            steps_per_epoch=experiment.steps_per_epoch,
            validation_data=pipeline.evaluation_batches(data.val, experiment.task, EVALUATION_BATCH),
            callbacks=[progress, recorder, *experiment.callbacks(run.folder), InterruptCheck()],
            shuffle=False,
            verbose=0,
        )
    weights = run.folder / WEIGHTS
    if weights.exists():
        model.load_weights(weights)
    else:
        model.save_weights(weights)
    run.log_tags({"weights_sha256": weights_sha256(model)})
    run.log_metrics(recorder.best())
    run.log_figure(plots.learning_curves(recorder.history, recorder.best_epoch), "learning_curves")


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


class Recorder(keras.callbacks.Callback):
    """Records each epoch under the logged names and shows it; knows the best epoch, counted from 1."""

    def __init__(self, experiment: Experiment, run: Run, progress: Progress):
        super().__init__()
        self._images, self._run, self._progress = len(experiment.dataset.train), run, progress
        self._monitor = experiment.settings.callbacks.get("checkpoint", {}).get("monitor", "val/loss")
        self.history: dict[str, list[float]] = {}

    @property
    def best_epoch(self) -> int:
        values = np.asarray(self.history[self._monitor])
        return 1 + int(values.argmin() if self._monitor.endswith("loss") else values.argmax())

    def best(self) -> dict[str, float]:
        """The best epoch and its metrics, under `best/`."""
        place = self.best_epoch - 1
        followed = {name: values[place] for name, values in self.history.items() if name.startswith(("train/", "val/"))}
        return {"best/epoch": self.best_epoch, **{f"best/{name}": value for name, value in followed.items()}}

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_test_begin(self, logs=None):
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        metrics = {logged_name(name): float(logs[name]) for name in sorted(logs, key=_reading_order)}
        metrics["lr"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        metrics["images_per_second"] = self._images / (self._trained - self._start)
        for name, value in metrics.items():
            self.history.setdefault(name, []).append(value)
        self._run.log_metrics(metrics, step=epoch + 1)
        self._progress.epoch_done(metrics, best=self.best_epoch == epoch + 1)
        if not math.isfinite(metrics["train/loss"]):
            raise TrainingError(f"the loss is {metrics['train/loss']} in epoch {epoch + 1}")


def _reading_order(metric: str) -> tuple[bool, bool]:
    return metric.startswith("val_"), not metric.endswith("loss")


class InterruptCheck(keras.callbacks.Callback):
    """Lets a signal end the training between two steps."""

    def on_train_batch_end(self, batch, logs=None):
        interrupts.check()

    def on_test_batch_end(self, batch, logs=None):
        interrupts.check()

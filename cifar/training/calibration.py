"""Temperature scaling of a trained classifier (Guo et al. 2017, arXiv:1706.04599), fitted on the validation images.

The logits are divided by one number, the temperature, so that the predicted classes stay the same. Recorded weights are
those of the training; where a recorded run is used, the temperature is divided into the weights of its last layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from cifar import plots
from cifar.config.settings import EvaluateSettings, Settings
from cifar.interfaces import Evaluation, Split, Task
from cifar.metrics import calibration
from cifar.runtime.errors import warn
from cifar.training import pipeline, tta
from cifar.training.experiment import EVALUATION_BATCH, Experiment

TEMPERATURE = "model/temperature"
"""The metric with the temperature of the model; with `_flip`, that of its answers with these views of an image."""
HEAD = "probabilities"
"""The layer whose outputs are softmax(logits)."""


def temperatures(experiment: Experiment, model: keras.Model) -> dict[str, float]:
    """Fit the temperatures that a run records, as metrics: none, that of the model, or also that with its views."""
    settings = experiment.settings.evaluate
    if settings.calibration == "none":
        return {}
    found = {TEMPERATURE: fitted(experiment, model)}
    if settings.tta != "none":
        found[f"{TEMPERATURE}_{settings.tta}"] = fitted(experiment, tta.averaged(model, settings.tta))
    return found


def recorded(settings: EvaluateSettings, metrics: Mapping[str, float]) -> float | None:
    """Return the temperature for the views of the settings from the `metrics` of a run, None if it is not calibrated.

    Views other than those of the run's training have the temperature of the model.
    """
    if settings.calibration == "none":
        return None
    if TEMPERATURE not in metrics:
        warn("the run has ended before its temperature was fitted: its probabilities are not calibrated")
    return metrics.get(f"{TEMPERATURE}_{settings.tta}", metrics.get(TEMPERATURE))


def fitted(experiment: Experiment, model: keras.Model) -> float:
    """Return the temperature that is best for the validation images; 1, with a warning, if there is none."""
    task, val = experiment.task, experiment.dataset.val
    batches = pipeline.evaluation_batches(val, task, EVALUATION_BATCH).as_numpy_iterator()
    parts = [task.predictions(model.predict_on_batch(images))[HEAD] for images, _ in batches]
    probabilities, labels = np.concatenate(parts), val.targets["label"]
    found = calibration.best_temperature(probabilities, labels)
    if found is None:
        right = int((probabilities.argmax(axis=1) == labels).sum())
        warn(
            f"evaluate.calibration=temperature: no temperature is best, with {right:,} of {len(val):,} validation "
            "images right; the probabilities stay as they are"
        )
    return found or 1.0


def evaluate(task: Task, predictions: Mapping[str, np.ndarray], split: Split, temperature: float | None) -> Evaluation:
    """Evaluate calibrated `predictions` by the task, with what they were before; as they are without a temperature."""
    if temperature is None:
        return task.evaluate(predictions, split)
    labels, before = split.targets["label"], predictions[HEAD]
    after = calibration.with_temperature(before, temperature)
    evaluation = task.evaluate({**predictions, HEAD: after}, split)
    right, uncalibrated, calibrated = before.argmax(axis=1) == labels, before.max(axis=1), after.max(axis=1)
    ece = [calibration.expected_calibration_error(confidence, right) for confidence in (uncalibrated, calibrated)]
    nll = [calibration.negative_log_likelihood(probabilities, labels) for probabilities in (before, after)]
    evaluation.metrics |= {"ece_uncalibrated": ece[0], "nll": nll[1], "nll_uncalibrated": nll[0]}
    evaluation.figures["reliability"] = lambda: plots.reliability_change(uncalibrated, calibrated, right, temperature)
    evaluation.notes.append(
        f"calibrated with temperature {temperature:.4f}: ece {ece[0]:.4f} before, {ece[1]:.4f} after; "
        f"nll {nll[0]:.4f} before, {nll[1]:.4f} after"
    )
    return evaluation


def calibrated(model: keras.Model, settings: Settings, metrics: Mapping[str, float]) -> keras.Model:
    """Return the `model` of a run with these `metrics`, calibrated in place if its settings say so."""
    temperature = recorded(settings.evaluate.model_copy(update={"tta": "none"}), metrics)
    return model if temperature is None else scaled(model, temperature)


def scaled(model: keras.Model, temperature: float) -> keras.Model:
    """Divide the logits of `model` by `temperature`, in place."""
    head = model.get_layer(HEAD)
    head.set_weights([weight / temperature for weight in head.get_weights()])
    return model

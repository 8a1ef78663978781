"""Classifiers for the labels of a data set: each image is classified by one that was not trained on it.

They are small versions of airbench94 (Jordan 2024, arXiv:2404.00498), the network of `experiment=speedrun94`, trained
in minutes on images of at most 32 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cifar.audit.pool import Pool, shrunk
from cifar.config.compose import composed, resolve
from cifar.config.settings import Settings
from cifar.data.splits import rank_in_class
from cifar.interfaces import Dataset, Split
from cifar.runtime.lazy import load_tensorflow
from cifar.training.experiment import Experiment

FOLDS = 3
WIDTHS = (32, 128, 128)
EPOCHS, FEW_EPOCHS = 6, 15
"""Epochs of a training, and of one of fewer than `FEW` images."""
FEW = 20_000
STEPS, LARGEST_BATCH = 40, 1000
"""Least number of steps in an epoch, and largest number of images in a step."""
RATES = {"optimizer.lr": 0.24, "optimizer.head_lr": 10.0, "optimizer.bias_lr": 100.0}
"""Learning rates of the recipe, whose batches are large; of fewer than `FEW` images, a `SMALL` part of them."""
SMALL = 0.25
SMALLEST_SIDE = 4


@dataclass(frozen=True)
class OutOfFold:
    """Probabilities (n, classes) of all images, and features (n, d) from before the last layer.

    The features of two images can be compared if `fold` (n,) is the same.
    """

    probabilities: np.ndarray
    features: np.ndarray
    fold: np.ndarray


def reason_against(pool: Pool) -> str:
    """Why the labels of a data set cannot be checked; empty if they can."""
    if pool.labels is None:
        return "the images have no labels"
    counts = np.bincount(pool.labels, minlength=len(pool.dataset.class_names))
    if len(counts) < 2:
        return "there is one class"
    fewest = int(counts.argmin())
    if counts[fewest] < FOLDS:
        return f"class {pool.dataset.class_names[fewest]!r} has {counts[fewest]} images, fewer than {FOLDS}"
    if min(pool.dataset.image_shape[:2]) < SMALLEST_SIDE:
        return f"the images have fewer than {SMALLEST_SIDE} pixels a side"
    return ""


def classified(pool: Pool, seed: int, flips: bool, report: Callable[[int], None]) -> OutOfFold:
    """Train `FOLDS` classifiers, and let each classify the images that it has not seen.

    With `flips` a mirrored image is of the same class: they learn and see both. `report` is called
    with the number of each fold, from 1, when it begins.
    """
    load_tensorflow()
    images, labels = np.concatenate([shrunk(block) for block in pool.blocks()]), pool.labels
    assert labels is not None
    fold = rank_in_class(labels, np.random.PCG64(seed).random_raw(len(labels))) % FOLDS
    probabilities = np.empty((len(labels), len(pool.dataset.class_names)), np.float32)
    features = np.empty((len(labels), 0), np.float32)
    for number in range(FOLDS):
        report(number + 1)
        held = np.flatnonzero(fold == number)
        rest = np.flatnonzero(fold != number)
        parts = [Split(images[rows], {"label": labels[rows]}) for rows in (rest, held)]
        dataset = Dataset(pool.dataset.name, parts[0], parts[1], parts[1], pool.dataset.class_names)
        probabilities[held], found = _trained(dataset, seed, flips)
        if not features.size:
            features = np.empty((len(labels), found.shape[1]), np.float32)
        features[held] = found
    return OutOfFold(probabilities, features, fold)


def _trained(dataset: Dataset, seed: int, flips: bool) -> tuple[np.ndarray, np.ndarray]:
    """Train a classifier; return probabilities and features of the test images.

    With `flips` the probabilities are means over an image and its mirror image.
    """
    import keras

    from cifar.training.moving_statistics import MovingStatistics

    experiment = Experiment.prepare(_settings(dataset, seed, flips), dataset)
    model = experiment.compiled_model()
    model.fit(experiment.training_batches(0, 0, experiment.settings.epochs), epochs=1, shuffle=False, verbose=0)
    MovingStatistics(model, experiment.statistics_batches()).recompute()
    both = keras.Model(model.input, [model.output, model.layers[-1].input])
    found, features = both.predict(dataset.test.images, batch_size=500, verbose=0)
    if flips:
        mirrored, _ = both.predict(np.ascontiguousarray(dataset.test.images[:, :, ::-1]), batch_size=500, verbose=0)
        found = (found + mirrored) / 2
    return found, features.reshape(len(features), -1)


def _settings(dataset: Dataset, seed: int, flips: bool) -> Settings:
    count = len(dataset.train)
    levels = max(1, (min(dataset.image_shape[:2]) - 1).bit_length() - 1)
    overrides = {
        "experiment": "speedrun94",
        "seed": seed,
        "epochs": EPOCHS if count >= FEW else FEW_EPOCHS,
        "batch_size": int(np.clip(count // STEPS, 1, LARGEST_BATCH)),
        "deterministic": "false",
        "evaluate.tta": "none",
        **{name: rate if count >= FEW else SMALL * rate for name, rate in RATES.items()},
        "task.label_smoothing": 0.1,
        "augmentation": "[alternating_flip,crop]" if flips else "[crop]",
        "model.widths": str(list(WIDTHS[:levels])).replace(" ", ""),
    }
    return resolve(composed([f"{key}={value}" for key, value in overrides.items()]))

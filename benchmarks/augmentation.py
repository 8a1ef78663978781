"""Cost of each augmentation, and of the default chain compared with Keras's two implementations.

    python benchmarks/augmentation.py [--data PATH/cifar-10-batches-py] [--rounds 7]

Every contender is timed once per round, in turn and with a new iterator, so that a busy machine slows all of them
equally and nothing is prefetched between rounds. Columns: images per second (median, minimum and maximum of the
rounds), the ratio to ours for the default chain (median of the rounds), and the CPU time of a batch of 128 in
milliseconds.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import yaml
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from scipy import ndimage

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from cifar.augmentation import Augmentation  # noqa: E402
from cifar.config.registry import AUGMENTATIONS  # noqa: E402
from cifar.interfaces import Split  # noqa: E402
from cifar.training.pipeline import training_batches  # noqa: E402

CHAIN = ("rotation", "shift", "flip")
OURS = " + ".join(CHAIN)
BATCH = 128


def read_images(folder: Path | None, count: int) -> np.ndarray:
    """Images uint8 (count, 32, 32, 3): of CIFAR-10 if `folder` is given, else smooth noise."""
    if folder:
        with open(folder / "data_batch_1", "rb") as file:
            flat = pickle.load(file, encoding="bytes")[b"data"][:count]
        return np.ascontiguousarray(flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    noise = np.random.default_rng(0).normal(size=(count, 32, 32, 3))
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3, 0))
    return np.clip(128 + smooth * 50 / smooth.std(), 0, 255).astype(np.uint8)


def ours(images: np.ndarray, *names: str) -> Iterable[Any]:
    """Our pipeline with the augmentations `names` at the settings of their YAML files."""
    choices = {}
    for name in names:
        entry = yaml.safe_load((ROOT / "conf" / "augmentation" / f"{name}.yaml").read_text())[name]
        choices[name] = AUGMENTATIONS.build({"name": name, **entry})
    task = SimpleNamespace(encode=lambda targets: tf.one_hot(targets["label"], 10), targets=("label",))
    split = Split(images, {"label": np.arange(len(images)) % 10})
    return training_batches(split, task, Augmentation(choices), seed=0, batch_size=BATCH, epochs=10**6)


def keras_layers(images: np.ndarray) -> Iterable[Any]:
    """The default chain as Keras's preprocessing layers, mapped over batches."""
    chain = keras.Sequential(
        [
            keras.layers.RandomRotation(15 / 360, fill_mode="nearest"),
            keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
            keras.layers.RandomFlip("horizontal"),
        ]
    )
    batches = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images)).repeat().batch(BATCH)
    return batches.map(lambda x: chain(x, training=True), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def image_data_generator(images: np.ndarray) -> Iterable[Any]:
    """The default chain as Keras's old `ImageDataGenerator`."""
    generator = ImageDataGenerator(
        rotation_range=15, width_shift_range=0.1, height_shift_range=0.1, horizontal_flip=True
    )
    return generator.flow(images, batch_size=BATCH)


def cost(batches: Iterable[Any], steps: int) -> tuple[float, float]:
    """Images per second, and milliseconds of CPU time per batch, over `steps` batches after a quarter as many."""
    iterator = iter(batches)
    for _ in range(steps // 4):
        next(iterator)
    begin, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(iterator)
    return steps * BATCH / (time.perf_counter() - begin), (time.process_time() - cpu) / steps * 1000


def measure(contenders: dict[str, tuple[Iterable[Any], int]], rounds: int) -> dict[str, np.ndarray]:
    """Costs of each contender, (rounds, 2), after a warm-up round."""
    costs = [{name: cost(*contender) for name, contender in contenders.items()} for _ in range(rounds + 1)]
    return {name: np.array([found[name] for found in costs[1:]]) for name in contenders}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder cifar-10-batches-py; smooth noise by default")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    images = read_images(arguments.data, BATCH * 64)

    contenders: dict[str, tuple[Iterable[Any], int]] = {"nothing": (ours(images), 400)}
    contenders |= {name: (ours(images, name), 200) for name in AUGMENTATIONS.names()}
    contenders[OURS] = (ours(images, *CHAIN), 200)
    contenders["all choices"] = (ours(images, *AUGMENTATIONS.names()), 200)
    contenders["Keras layers"] = (keras_layers(images), 40)
    contenders["ImageDataGenerator"] = (image_data_generator(images), 8)

    costs = measure(contenders, arguments.rounds)
    print(f"{'':24}{'images/s':>10}{'least':>10}{'most':>10}{'ratio':>8}{'CPU ms':>9}")
    for name, found in costs.items():
        rates, cpu = found.T
        ratio = np.median(rates / costs[OURS][:, 0])
        print(
            f"{name:24}{np.median(rates):10.0f}{rates.min():10.0f}{rates.max():10.0f}{ratio:8.3f}{np.median(cpu):9.2f}"
        )


if __name__ == "__main__":
    main()

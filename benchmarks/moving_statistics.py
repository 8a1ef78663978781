"""Does the validation loss measure the model? Moving statistics of batch normalization against exact ones.

    python benchmarks/moving_statistics.py --epochs 25 data=digits
    python benchmarks/moving_statistics.py --epochs 25 data.path=DIR data.limit=3000

Trains with the settings, and validates each epoch's weights with the statistics of 60 batches of training images, which
count as exact, of `STATISTICS_IMAGES`, as `run.py` does, and with averages over the steps of the training. Prints the
largest and the mean difference of the validation loss to the exact one, over all epochs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

sys.path.insert(0, str(Path(__file__).parents[1]))

from cifar.config.compose import resolve
from cifar.runtime.lazy import load_tensorflow
from cifar.training.experiment import Experiment

ROOT = Path(__file__).parents[1]
EXACT = 60  # batches
LIMITS = (0.99, 0.9, 0.5)
AVERAGES = {
    "momentum 0.99, as Keras has it": lambda step: 0.99,
    "momentum 0.9": lambda step: 0.9,
} | {
    f"momentum rising as (1 + step) / (10 + step) to {limit}": lambda step, limit=limit: min(
        limit, (1 + step) / (10 + step)
    )
    for limit in LIMITS
}
RECOMPUTED = "computed from 1,024 images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("settings", nargs="*")
    options = parser.parse_args()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        settings = resolve(compose("config", [f"epochs={options.epochs}", *options.settings]))
    experiment = Experiment.prepare(settings)
    load_tensorflow(settings.backend)
    import keras

    from cifar.training.moving_statistics import MovingStatistics

    model = experiment.compiled_model()
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    variables = [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]
    validation = experiment.validation_batches()
    averages = {name: [variable.numpy() for variable in variables] for name in AVERAGES}
    for layer in layers:
        layer.momentum = 0.0  # so that the moving statistics are those of the last batch

    def loss(values: list[np.ndarray]) -> float:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return model.evaluate(validation, verbose=0, return_dict=True)["loss"]

    def recomputed(batches) -> float:
        MovingStatistics(model, batches).recompute()
        return model.evaluate(validation, verbose=0, return_dict=True)["loss"]

    differences: dict[str, list[float]] = {name: [] for name in (*AVERAGES, RECOMPUTED)}
    step = 0
    for epoch in range(options.epochs):
        for batch in experiment.training_batches(epoch, 0, epoch + 1):
            model.train_on_batch(*batch)
            for name, momentum in AVERAGES.items():
                kept = momentum(step)
                averages[name] = [kept * old + (1 - kept) * variable.numpy()
                                  for old, variable in zip(averages[name], variables, strict=True)]  # fmt: skip
            step += 1
        exact = recomputed(experiment.training_batches(epoch, 0, epoch + EXACT).take(EXACT))
        found = {name: loss(values) for name, values in averages.items()}
        found[RECOMPUTED] = recomputed(experiment.statistics_batches())
        for name, value in found.items():
            differences[name].append(abs(value - exact))
        print(f"epoch {epoch + 1}: val/loss {exact:.4f}; " + "  ".join(f"{found[n] - exact:+.4f}" for n in differences))
    for name, values in differences.items():
        print(f"{name}: largest {max(values):.3f} in epoch {np.argmax(values) + 1}, mean {np.mean(values):.3f}")


if __name__ == "__main__":
    main()

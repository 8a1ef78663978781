"""Effect of the number of devices and of the backend: the same training on one device, two devices, two processes.

    python benchmarks/devices.py [OVERRIDES…]

Three epochs on scikit-learn's digits, with a global batch size of 24. All start from the same weights, since backends
initialize differently, and without dropout, whose random numbers differ between backends. The two mirrored devices are
halves of the CPU; the two JAX processes communicate over the loopback interface. A training on one device whose initial
weights differ in their last bit shows the effect of rounding alone.
"""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import mlflow
import numpy as np

ROOT = Path(__file__).parents[1]
RUN = (
    "data=digits", "epochs=3", "batch_size=24", "model.dropout=0", "model.classifier.dropout=0", "callbacks=none",
)  # fmt: skip
ONE, MOVED, MIRRORED = "TensorFlow, one device", "the same, last bits moved", "TensorFlow, two mirrored devices"
ON_JAX, PROCESSES = "JAX, one device", "JAX, two processes"
CONTENDERS = {
    ONE: (),
    MOVED: (),
    MIRRORED: ("distribute=mirrored",),
    ON_JAX: ("backend=jax",),
    PROCESSES: ("backend=jax", "distribute=data_parallel"),
}
PAIRS = ((MIRRORED, ONE), (PROCESSES, ON_JAX), (ON_JAX, ONE), (MOVED, ONE))
LOSSES = ("train/loss", "val/loss")
ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}


def train(initial: Path, name: str, *overrides: str) -> None:
    """Run `python run.py OVERRIDES…` from the weights in the file `initial`, written by the first training."""
    sys.path.insert(0, str(ROOT))
    from cifar.runtime import lazy
    from cifar.training.experiment import Experiment

    if name == MIRRORED:
        lazy.load_tensorflow("tensorflow")
        (processor,) = lazy.tf.config.list_physical_devices("CPU")
        lazy.tf.config.set_logical_device_configuration(processor, 2 * [lazy.tf.config.LogicalDeviceConfiguration()])
    drawn = Experiment.model

    def model(self):
        model = drawn(self)
        if not initial.exists():
            np.savez(initial, *model.get_weights())
        with np.load(initial) as arrays:
            weights = [arrays[key] for key in arrays.files]
        model.set_weights([np.nextafter(one, np.float32(2)) for one in weights] if name == MOVED else weights)
        return model

    Experiment.model = model
    sys.argv = ["run.py", *overrides]
    runpy.run_path(str(ROOT / "run.py"), run_name="__main__")


def start(name: str, folder: Path, overrides: tuple[str, ...]) -> tuple[np.ndarray, dict[str, list[float]]]:
    """Return all final weights of a training, concatenated, and its losses by epoch."""
    uri = f"sqlite:///{folder / name / 'mlflow.db'}"
    own = (*CONTENDERS[name], f"tracking.uri='{uri}'")
    command = [sys.executable, __file__, "train", folder / "initial.npz", name, *RUN, *overrides, *own]
    processes = [subprocess.Popen(command, env=os.environ | ON_CPU | given) for given in _variables(name)]
    codes = [process.wait() for process in processes]
    if any(codes):
        sys.exit(f"{name}: failed")
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    weights: dict[str, np.ndarray] = {}

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
            weights[name] = item[()].ravel()

    (path,) = (folder / name).glob("mlruns/*/artifacts/model.weights.h5")
    with h5py.File(path) as file:
        file.visititems(collect)
    losses = {name: [point.value for point in client.get_metric_history(run.info.run_id, name)] for name in LOSSES}
    return np.concatenate([weights[name] for name in sorted(weights)]), losses


def _variables(name: str) -> list[dict[str, str]]:
    """Return the environment of each process of a training."""
    if name != PROCESSES:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": address, "KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}
    return [shared | {"KERAS_DISTRIBUTION_PROCESS_ID": str(index)} for index in range(2)]


def main(*overrides: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {name: start(name, Path(folder), overrides) for name in CONTENDERS}
    print(f"{len(found[ONE][0]):,} weights of {np.abs(found[ONE][0]).max():.2f} at most")
    for name, (_, losses) in found.items():
        for loss in LOSSES:
            print(f"| {name} | {loss} | {' | '.join(f'{value:.7f}' for value in losses[loss])} |")
    for one, other in PAIRS:
        (weights, losses), (other_weights, other_losses) = found[one], found[other]
        apart = max(np.abs(np.subtract(losses[loss], other_losses[loss])).max() for loss in LOSSES)
        print(f"| {one} against {other} | {np.abs(weights - other_weights).max():.1e} | {apart:.1e} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train(Path(sys.argv[2]), *sys.argv[3:])
    else:
        main(*sys.argv[1:])

"""Training speed on one GPU with `backend=jax`, compared with PyTorch with the same network, batch size and precision.

    python benchmarks/gpu.py [--data PATH/cifar-10-batches-py] [--minutes 8]

Each contender is a process of its own, one after the other, on epochs of 40,000 images in mixed bfloat16; the first two
epochs, in which it compiles and settles, are not counted. Of ours, the same process then trains on one batch that stays
on the device (the step alone), and makes batches that nothing is trained on (the CPU alone). After the comparison come
whole trainings of `experiment=speedrun94`, then ours with deterministic=true and PyTorch compiled, as far as the time
goes. The peak is that of a matrix product in bfloat16.

    python benchmarks/gpu.py ours|train|peak …                            # one of these processes
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
from hydra import compose, initialize_config_dir

from training import PEERS, ROOT, write_images

sys.path.insert(0, str(ROOT))

from cifar.config.compose import resolve
from cifar.distributed import devices
from cifar.training import pipeline
from cifar.training.experiment import Experiment

EPOCH, VAL_SHARE, SETTLING = 40_000, 0.1, 2
NETWORKS = {
    "cnn3": ("model=cnn3",),
    "airbench": ("experiment=speedrun94",),
    "resnet18": ("model=resnet18",),
}
SCRIPTS = {
    "cnn3": ("pytorch.py",),
    "airbench": ("pytorch_airbench.py",),
    "resnet18": ("pytorch.py", "--network", "resnet18"),
}
ON_GPU, ON_CPU = 8192, 512  # rows of the matrices of a product
LEAST = 15  # seconds without which nothing is started


def prepared(*overrides: str):
    """Return the experiment of these settings and its compiled model, on JAX."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        settings = resolve(compose("config", ["backend=jax", *overrides]))
    experiment = Experiment.prepare(settings)
    devices.start(settings, experiment.dataset, experiment.order.count)
    return experiment, experiment.compiled_model()


def clock(seconds: float = float("inf")):
    """A callback whose `epochs` are the seconds of each; it ends the training after as many, without the settling."""
    import keras

    class Clock(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.epochs = []

        def on_epoch_begin(self, epoch, logs=None):
            self._began = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append(time.perf_counter() - self._began)
            self.model.stop_training = sum(self.epochs[SETTLING:]) > seconds

    return Clock()


def ours(seconds: float, *overrides: str) -> dict:
    """Images/s of the training, of the step and of the batches; peak memory in bytes; forward operations an image."""
    experiment, model = prepared(*overrides)
    import jax  # after the settings have chosen what Keras computes with

    from cifar.training import flops

    steps, size = experiment.steps_per_epoch, experiment.settings.batch_size
    epochs = experiment.settings.epochs

    def speed(train: bool, batches) -> list[float]:
        """Seconds of each epoch."""
        if train:
            watch = clock(seconds)
            model.fit(batches, steps_per_epoch=steps, epochs=epochs, callbacks=[watch], shuffle=False, verbose=0)
            taken = watch.epochs
        else:
            taken, left = [], iter(batches)
            while sum(taken[SETTLING:]) < seconds:
                began = time.perf_counter()
                for _ in range(steps):
                    next(left)
                taken.append(time.perf_counter() - began)
        return [steps * size / one for one in taken[SETTLING:]]

    found = {"training": speed(True, experiment.training_batches(0, 0, epochs))}
    found["memory"] = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    batch = jax.device_put(next(experiment.training_batches(0, 0, epochs).as_numpy_iterator()))

    def same():
        while True:
            yield batch

    found["step"] = speed(True, same())
    found["batches"] = speed(False, experiment.training_batches(0, 0, epochs))
    found["flops"] = flops.sums(flops.costs(model))["model/flops"]
    return found


def train(*overrides: str) -> dict:
    """A whole training: seconds in all, those of each epoch, and the accuracy on the test images."""
    experiment, model = prepared(*overrides)
    from cifar.training import tta

    settings, watch = experiment.settings, clock()
    began = time.perf_counter()
    model.fit(
        experiment.training_batches(0, 0, settings.epochs), steps_per_epoch=experiment.steps_per_epoch,
        epochs=settings.epochs, callbacks=[watch], shuffle=False, verbose=0,
    )  # fmt: skip
    trained = time.perf_counter()
    views, right = tta.averaged(model, settings.evaluate.tta), 0
    test = pipeline.evaluation_batches(experiment.dataset.test, experiment.task, settings.batch_size)
    for images, targets in test.as_numpy_iterator():
        labels = targets.argmax(-1) if targets.ndim > 1 else targets
        right += int((np.asarray(views.predict_on_batch(images)).argmax(-1) == labels).sum())
    return {
        "seconds": trained - began, "epochs": watch.epochs, "test_seconds": time.perf_counter() - trained,
        "accuracy": right / len(experiment.dataset.test),
    }  # fmt: skip


def peak(rounds: int = 7, products: int = 20) -> dict:
    """FLOP/s of a product of square matrices in bfloat16, round by round; what it ran on."""
    import jax

    device = jax.local_devices()[0]
    size = ON_CPU if device.platform == "cpu" else ON_GPU
    a, b = jax.random.normal(jax.random.key(0), (2, size, size), "bfloat16")
    multiply = jax.jit(jax.numpy.matmul)
    multiply(a, b).block_until_ready()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(products):
            product = multiply(a, b)
        product.block_until_ready()
        found.append(2 * size**3 * products / (time.perf_counter() - began))
    return {"flops": found, "device": device.device_kind, "jax": jax.__version__}


class Contest:
    """Starts one process after the other until the time is up, and shows what each has found."""

    def __init__(self, options: argparse.Namespace, folder: pathlib.Path):
        self._options, self._folder, self._end = options, folder, time.monotonic() + 60 * options.minutes
        self._images, self._limit = folder / "images.npz", round(options.epoch / (1 - VAL_SHARE))
        self._operations: dict[str, float] = {}  # of a step for an image, by network
        write_images(options.data, self._images)
        product = self._found("peak") or {"flops": [0], "device": "unknown device", "jax": ""}
        self._best = float(np.median(product["flops"]))
        print(
            f"{product['device']}, JAX {product['jax']}, {os.cpu_count()} CPU cores; matrix product in bfloat16: "
            f"{self._best / 1e12:,.1f} TFLOP/s; {'CIFAR-10' if options.data else 'random images'}",
            flush=True,
        )
        print(f"\n{'images/s':44}{'median':>11}{'least':>11}{'most':>11}{'of the peak':>13}{'GiB':>8}", flush=True)

    def ours(self, network: str, batch: int, *settings: str) -> None:
        """Three lines: the training, its step alone, its batches alone."""
        found = self._found(
            "ours", str(self._options.seconds), *NETWORKS[network], f"data.path={self._images}",
            f"data.limit={self._limit}", f"data.val_fraction={VAL_SHARE}", "epochs=1000000",
            "precision=mixed_bfloat16", f"batch_size={batch}", *settings,
        )  # fmt: skip
        if found:
            operations = self._operations[network] = 3 * found["flops"]
            name = " ".join((f"{network}, {batch}: ours", *settings))
            self._show(name, found["training"], operations, found["memory"])
            self._show("  the step alone", found["step"], operations)
            self._show("  the batches alone", found["batches"])

    def torch(self, network: str, batch: int, *arguments: str) -> None:
        script, *rest = SCRIPTS[network]
        output = self._output(
            str(PEERS / script), *rest, "--data", str(self._images), "--limit", str(self._limit), "--bfloat16",
            "--device", self._options.device, "--batch", str(batch), "--epochs", str(SETTLING + 6), *arguments,
        )  # fmt: skip
        if output:
            speeds = [float(speed.replace(",", "")) for speed in re.findall(r"([\d,]+) images/s", output)]
            memory = [2**30 * float(found) for found in re.findall(r"peak memory ([\d.]+) GiB", output)]
            name = " ".join((f"{network}, {batch}: PyTorch", *arguments))
            self._show(name, speeds[SETTLING:], self._operations.get(network, 0), *memory)

    def whole_training(self, seed: int) -> None:
        found = self._found(
            "train", "experiment=speedrun94", f"data.path={self._images}", "precision=mixed_bfloat16",
            "deterministic=false", f"seed={seed}", *self._options.recipe,
        )  # fmt: skip
        if found:
            print(
                f"experiment=speedrun94 seed={seed}: {found['seconds']:.2f} s in all, epochs of "
                f"{np.median(found['epochs']):.3f} s (median of {len(found['epochs'])}); test accuracy "
                f"{found['accuracy']:.4f} in {found['test_seconds']:.2f} s",
                flush=True,
            )

    def _show(self, name: str, speeds: list[float], operations: float = 0, memory: float = 0) -> None:
        share = f"{np.median(speeds) * operations / self._best:13.1%}" if operations and self._best else f"{'':13}"
        figures = "".join(f"{speed:11,.0f}" for speed in (np.median(speeds), min(speeds), max(speeds)))
        print(f"{name:44}{figures}{share}{f'{memory / 2**30:8.2f}' if memory else ''}", flush=True)

    def _found(self, *arguments: str) -> dict | None:
        """Return the result of a function above, run in a separate process."""
        output = self._output(__file__, *arguments)
        return json.loads(output.splitlines()[-1]) if output else None

    def _output(self, *command: str) -> str | None:
        """What `python COMMAND…` prints; None, with the reason shown, where it fails. Ends where the time is up."""
        left, shown = self._end - time.monotonic(), " ".join(command)
        if left < LEAST:
            print("the time is up", flush=True)
            sys.exit()
        cache = {"JAX_COMPILATION_CACHE_DIR": str(self._folder / "compiled"), "TF_CPP_MIN_LOG_LEVEL": "3"}
        began = time.monotonic()
        try:
            done = subprocess.run([sys.executable, *command], cwd=self._folder, env=os.environ | cache,
                                  capture_output=True, text=True, timeout=left)  # fmt: skip
        except subprocess.TimeoutExpired:
            print(f"the time is up in {shown}", flush=True)
            sys.exit()
        print(f"  {time.monotonic() - began:.0f} s: {shown}", file=sys.stderr, flush=True)
        if done.returncode:
            print(f"  failed: {shown}\n{done.stderr[-2500:]}", flush=True)
            return None
        return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, help="folder cifar-10-batches-py; random images by default")
    parser.add_argument("--minutes", type=float, default=8, help="after which nothing more is started")
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS], default=[*NETWORKS])
    parser.add_argument("--batches", nargs="+", type=int, default=[500, 2000])
    parser.add_argument("--epoch", type=int, default=EPOCH, help="images of an epoch")
    parser.add_argument("--seconds", type=float, default=2, help="that a speed is measured for")
    parser.add_argument("--seeds", type=int, default=5, help="whole trainings, at most")
    parser.add_argument("--recipe", nargs="*", default=[], help="settings of the whole trainings")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="of PyTorch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(options, pathlib.Path(folder))
        for network in options.networks:
            for batch in options.batches:
                contest.ours(network, batch, "deterministic=false")
                contest.torch(network, batch)
        for seed in range(options.seeds):
            contest.whole_training(seed)
        for network in options.networks:
            contest.ours(network, options.batches[-1])
            contest.torch(network, options.batches[-1], "--compile")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ours", seconds, *overrides]:
            print(json.dumps(ours(float(seconds), *overrides)))
        case ["train", *overrides]:
            print(json.dumps(train(*overrides)))
        case ["peak"]:
            print(json.dumps(peak()))
        case _:
            main()

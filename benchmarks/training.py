"""Training speed, compared with Keras scripts and a PyTorch script with the same network, images and augmentation.

    python benchmarks/training.py [peers] [overhead] [memory] [--data PATH/cifar-10-batches-py]
                                  [--images 10000] [--rounds 7] [--pin]

Each contender (a script in benchmarks/peers) is a separate process that is stopped outside of its turns; a turn is one
epoch with its validation. A round gives each contender one turn, in random order; ratios are within a round. The first
two turns of each are warm-up. A turn in which other processes used a tenth of a core or more is repeated, at most five
times, and the least disturbed one counts.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"
VAL_SHARE = 0.1
# Multiplications and additions of the network's convolutions and dense layers for one image.
FORWARD_FLOPS = 2 * (32**2 * 27 * 32 + 16**2 * 288 * 64 + 8**2 * 576 * 128 + 2048 * 128 + 128 * 10)

OURS, OURS_BF16 = "ours float32", "ours mixed_bfloat16"
GENERATOR, TF_DATA, TF_DATA_BF16 = "Keras ImageDataGenerator", "Keras tf.data float32", "Keras tf.data bfloat16"
TORCH, TORCH_BF16 = "PyTorch float32", "PyTorch bfloat16"
CONTENDERS = (OURS, OURS_BF16, GENERATOR, TF_DATA, TF_DATA_BF16, TORCH, TORCH_BF16)
SIZE, COUNT = 2048, 20  # of the matrix products
PRODUCT_FLOPS = 2 * SIZE**3 * COUNT
# Its users do not have JAX installed, unlike this project.
WITHOUT_JAX = f"""
import runpy, sys
sys.modules["jax"] = None
sys.path.insert(0, {str(PEERS)!r})
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
QUIET, RETAKES = 0.1, 5  # cores that others may take in a turn, and how often it is taken again where they take more
PRODUCTS = {f"{library} {dtype}": (library, dtype) for library in ("tensorflow", "torch")
            for dtype in ("float32", "bfloat16")}  # fmt: skip

Seconds = dict[str, np.ndarray]
"""Seconds of the turns of each contender, round by round."""


class Worker:
    """A contender in its own process, which is stopped outside of its turns."""

    def __init__(self, name: str, command: list[str], folder: Path):
        self._name = name
        times, write = os.pipe()
        self._times = os.fdopen(times)
        self._log = folder / f"{name}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command], cwd=folder, env={**environment(), "TURNS": str(write)}, pass_fds=[write],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        os.close(write)
        self._wait()

    def turn(self) -> tuple[float, float]:
        """Return the number of cores used by other processes during one epoch, and its seconds."""
        before = self._cpu_of_others()
        os.killpg(self._process.pid, signal.SIGCONT)
        self._wait()
        seconds = float(self._times.readline())
        return (self._cpu_of_others() - before) / seconds, seconds

    def pin(self) -> None:
        """Take a turn, and pin its busiest threads to a core each."""
        before = self._threads()
        self.turn()
        busiest = sorted(self._threads().items(), key=lambda thread: before.get(thread[0], 0) - thread[1])
        for core, (thread, _) in zip(os.sched_getaffinity(0), busiest, strict=False):
            os.sched_setaffinity(thread, {core})

    def end(self) -> None:
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _cpu_of_others(self) -> float:
        """CPU seconds of all processes but this contender."""
        user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
        ticks = user + nice + system + sum(interrupts) - cpu_ticks(Path(f"/proc/{self._process.pid}"))
        return ticks / os.sysconf("SC_CLK_TCK")

    def _threads(self) -> dict[int, int]:
        return {int(path.name): cpu_ticks(path) for path in Path(f"/proc/{self._process.pid}/task").iterdir()}

    def _wait(self) -> None:
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self._process.returncode = os.waitstatus_to_exitcode(status)
            sys.exit(f"{self._name}: {self._log.read_text()[-3000:]}")


def cpu_ticks(process: Path) -> int:
    """CPU time of a process or a thread; `process` is its folder in /proc."""
    return sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:13]))


def environment() -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def write_images(source: Path | None, target: Path) -> None:
    """Write CIFAR-10 from the folder `source`, or as many random images, as an `.npz`."""
    if source:
        parts = [f"data_batch_{number}" for number in range(1, 6)], ["test_batch"]
        (x_train, y_train), (x_test, y_test) = (_read(source, names) for names in parts)
    else:
        numbers = np.random.default_rng(0)
        x_train, x_test = (numbers.integers(0, 256, (n, 32, 32, 3), np.uint8) for n in (50_000, 10_000))
        y_train, y_test = np.arange(50_000) % 10, np.arange(10_000) % 10
    np.savez(target, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def _read(folder: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    batches = [pickle.loads((folder / name).read_bytes(), encoding="bytes") for name in names]
    images = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
    return images.transpose(0, 2, 3, 1).copy(), np.concatenate([batch[b"labels"] for batch in batches])


def commands(images: Path, limit: int, folder: Path) -> dict[str, list[str]]:
    """Return the command of each contender."""
    plain = ["--data", str(images), "--limit", str(limit)]
    ours = [
        f"data.path={images}", f"data.limit={limit}", f"data.val_fraction={VAL_SHARE}", "epochs=1000000",
        "callbacks.early_stopping.patience=1000000", f"tracking.uri=sqlite:///{folder}/mlflow.db",
    ]  # fmt: skip
    found = {
        GENERATOR: ["keras_generator.py", *plain],
        TF_DATA: ["keras_tfdata.py", *plain],
        TF_DATA_BF16: ["keras_tfdata.py", *plain, "--bfloat16"],
        TORCH: ["pytorch.py", *plain],
        TORCH_BF16: ["pytorch.py", *plain, "--bfloat16"],
        **{name: ["matmul.py", *product, str(SIZE), str(COUNT)] for name, product in PRODUCTS.items()},
    }
    for name, precision in ((OURS, "float32"), (OURS_BF16, "mixed_bfloat16")):
        settings = [*ours, f"precision={precision}"]
        found[name] = ["ours.py", *settings]
        found[bare(name)] = ["ours_bare.py", *settings]
        found[in_memory(name)] = ["ours_bare.py", "--in-memory", *settings]
    return {name: [str(PEERS / script), *rest] for name, (script, *rest) in found.items()}


def bare(name: str) -> str:
    return f"{name}, no callbacks"


def in_memory(name: str) -> str:
    return f"{name}, no callbacks, batches in memory"


def measure(commands: dict[str, list[str]], rounds: int, pin: bool, folder: Path) -> Seconds:
    workers: dict[str, Worker] = {}
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    try:
        for name, command in commands.items():
            workers[name] = Worker(name, command, folder)
            workers[name].turn()
            workers[name].pin() if pin else workers[name].turn()
        for number in range(rounds):
            for name in random.Random(number).sample(sorted(workers), len(workers)):
                turns[name].append(workers[name].turn())
                for _ in range(RETAKES):
                    if turns[name][-1][0] > QUIET:
                        turns[name][-1] = min(turns[name][-1], workers[name].turn())
            others, name = max((taken[-1][0], name) for name, taken in turns.items())
            print(f"round {number + 1}/{rounds}: others took {others:.2f} cores at most ({name})", file=sys.stderr)
    finally:
        for worker in workers.values():
            worker.end()
    return {name: np.array([seconds for _, seconds in taken]) for name, taken in turns.items()}


def peak_memory(command: list[str], folder: Path) -> float:
    """Return the peak resident memory of `python COMMAND…` in MiB."""
    with (folder / "memory.log").open("w") as log:
        process = subprocess.Popen([sys.executable, *command], cwd=folder, env=environment(), stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command}: {(folder / 'memory.log').read_text()[-3000:]}")
    return usage.ru_maxrss / 1024


def spread(values: np.ndarray, form: str) -> str:
    """Format median, minimum and maximum."""
    return "".join(f"{format(number, form):>9}" for number in (np.median(values), values.min(), values.max()))


def fastest(seconds: Seconds, *names: str) -> str:
    return min(names, key=lambda name: np.median(seconds[name]))


def report_speed(seconds: Seconds, images: int) -> None:
    val = round(VAL_SHARE * images)
    best = fastest(seconds, OURS, OURS_BF16)
    flops = FORWARD_FLOPS * (3 * (images - val) + val)
    print(f"\n{'images/s':54}{'median':>9}{'least':>9}{'most':>9}   {'best of ours is × as fast':27}   share of peak")
    for name, times in seconds.items():
        if name in PRODUCTS:
            continue
        share = flops / times / peak(seconds, "bfloat16" if "bf" in name else "float32")
        print(
            f"{name:54}{spread((images - val) / times, ',.0f')}   {spread(times / seconds[best], '.2f')}"
            f"   {np.median(share):13.0%}"
        )
    _heading("matrix products, GFLOP/s")
    for name in PRODUCTS:
        print(f"{name:54}{spread(PRODUCT_FLOPS / seconds[name] / 1e9, ',.0f')}")


def peak(seconds: Seconds, dtype: str) -> float:
    """FLOP/s of the matrix product in the faster library."""
    return max(np.median(PRODUCT_FLOPS / seconds[name]) for name in PRODUCTS if name.endswith(dtype))


def report_goals(seconds: Seconds) -> None:
    best = fastest(seconds, OURS, OURS_BF16)
    _heading("goals: times as fast")
    for ours, peer, wanted in (
        (best, GENERATOR, 2.5), (best, TF_DATA, 1.8), (best, TF_DATA_BF16, 1.8), (best, TORCH, 1.3),
        (best, TORCH_BF16, 1.1), (OURS, TF_DATA, 1.3),
    ):  # fmt: skip
        ratio = seconds[peer] / seconds[ours]
        _goal(f"{ours} ≥ {wanted}× {peer}", spread(ratio, ".2f"), np.median(ratio) >= wanted)


def report_overhead(seconds: Seconds) -> None:
    _heading("goals: share of an epoch")
    for ours in (OURS, OURS_BF16):
        callbacks = seconds[ours] / seconds[bare(ours)] - 1
        pipeline = seconds[bare(ours)] / seconds[in_memory(ours)] - 1
        _goal(f"{ours}: callbacks and tracking ≤ 3%", spread(callbacks, ".1%"), np.median(callbacks) <= 0.03)
        _goal(f"{ours}: input pipeline ≤ 5%", spread(pipeline, ".1%"), np.median(pipeline) <= 0.05)


def report_memory(images: Path, folder: Path) -> None:
    """Time whole runs of one epoch on all images."""
    ours = peak_memory([str(ROOT / "run.py"), f"data.path={images}", "epochs=1",
                        f"tracking.uri=sqlite:///{folder}/mlflow.db"], folder)  # fmt: skip
    script = [str(PEERS / "keras_tfdata.py"), "--data", str(images), "--epochs", "1"]
    installed, plain = peak_memory(script, folder), peak_memory(["-c", WITHOUT_JAX, *script], folder)
    print(
        f"\npeak memory of a whole run on 50,000 images: ours {ours:,.0f} MiB, {TF_DATA} {plain:,.0f} MiB "
        f"({installed:,.0f} MiB where TensorFlow finds JAX, which it then imports)"
    )
    _goal("ours ≤ 1.1×", f"{ours / plain:9.2f}{'':18}", ours <= 1.1 * plain)


def _heading(text: str) -> None:
    print(f"\n{text:54}{'median':>9}{'least':>9}{'most':>9}")


def _goal(text: str, figures: str, met: bool) -> None:
    print(f"{text:54}{figures}   {'met' if met else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=("peers", "overhead", "memory", []), help="all by default")
    parser.add_argument("--data", type=Path, help="folder cifar-10-batches-py; random images by default")
    parser.add_argument("--images", type=int, default=10_000, help="of an epoch, a tenth of them for validation")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--pin",
        action="store_true",
        help="keep a contender's busiest threads on a core each, where the kernel packs them",
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no contender is left behind
    parts = options.parts or ("peers", "overhead", "memory")
    source = "CIFAR-10" if options.data else "random images"
    print(f"{source}: epochs of {options.images:,} images, a tenth of them for validation; {options.rounds} rounds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images.npz"
        write_images(options.data, images)
        known = commands(images, options.images, folder)
        if "peers" in parts:
            chosen = {name: known[name] for name in (*CONTENDERS, *PRODUCTS)}
            seconds = measure(chosen, options.rounds, options.pin, folder)
            report_speed(seconds, options.images)
            report_goals(seconds)
        if "overhead" in parts:
            chosen = {form(name): known[form(name)] for name in (OURS, OURS_BF16) for form in (str, bare, in_memory)}
            report_overhead(measure(chosen, options.rounds, options.pin, folder))
        if "memory" in parts:
            report_memory(images, folder)


if __name__ == "__main__":
    main()

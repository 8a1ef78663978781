"""Overhead of a sweep, compared with processes started by hand, two at a time.

    python benchmarks/sweeps.py [--jobs 20] [--rounds 1]

The jobs train two epochs on scikit-learn's digits; a round runs each contender once, in turns. `sweep` forks its jobs
from a process that has loaded TensorFlow, `cold sweep` does not.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

RUN = Path(__file__).parents[1] / "run.py"
SETTINGS = ("data=digits", "epochs=2")
AT_A_TIME = 2


def by_hand(seeds: list[int], store: str) -> None:
    """Run pairs of processes, the next pair when both have ended."""
    for first in range(0, len(seeds), AT_A_TIME):
        pair = [start(f"seed={seed}", store) for seed in seeds[first : first + AT_A_TIME]]
        for process in pair:
            check(process)


def sweep(seeds: list[int], store: str, *settings: str) -> None:
    given = f"seed={','.join(map(str, seeds))}", f"hydra.launcher.n_jobs={AT_A_TIME}", *settings
    check(start("--multirun", *given, store))


def cold_sweep(seeds: list[int], store: str) -> None:
    sweep(seeds, store, "hydra.launcher.warm=false")


CONTENDERS: dict[str, Callable[[list[int], str], None]] = {"by hand": by_hand, "sweep": sweep, "cold sweep": cold_sweep}


def start(*arguments: str) -> subprocess.Popen:
    options = sorted(arguments, key=lambda argument: not argument.startswith("--"))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.Popen(
        [sys.executable, RUN, *options, *SETTINGS], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def check(process: subprocess.Popen) -> None:
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(output.decode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(options.rounds):
        for name, contender in CONTENDERS.items():
            with tempfile.TemporaryDirectory() as folder:
                began, used = time.perf_counter(), cpu()
                contender(list(range(options.jobs)), f"tracking.uri=sqlite:///{folder}/mlflow.db")
                measured[name].append((time.perf_counter() - began, cpu() - used))
            print(f"{name}: {measured[name][-1][0]:.1f} s, CPU {measured[name][-1][1]:.1f} s", flush=True)
    by_hand_times = np.array(measured["by hand"])
    for name, times in measured.items():
        wall, used = np.median(times, axis=0)
        ratios = np.median(np.array(times) / by_hand_times, axis=0)
        print(
            f"{name:10} {wall:8.1f} s, CPU {used:.1f}; a job {wall / options.jobs:.2f}, {used / options.jobs:.2f}; "
            f"{ratios[0]:.2f}, {ratios[1]:.2f} × by hand"
        )


def cpu() -> float:
    """Seconds of processor time, user and system, of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()

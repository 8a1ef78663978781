"""Overhead of a sweep, compared with processes started by hand, two at a time, and with Hydra's basic launcher.

    python benchmarks/sweeps.py [--jobs 20] [--rounds 1]

The jobs train two epochs on scikit-learn's digits; a round runs each contender once, in turns.
"""

from __future__ import annotations

import argparse
import os
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


def sweep(seeds: list[int], store: str) -> None:
    check(start("--multirun", f"seed={','.join(map(str, seeds))}", f"hydra.launcher.n_jobs={AT_A_TIME}", store))


def basic(seeds: list[int], store: str) -> None:
    """Run the jobs one after the other in one process, on all cores."""
    check(start("--multirun", f"seed={','.join(map(str, seeds))}", "hydra/launcher=basic", store))


CONTENDERS: dict[str, Callable[[list[int], str], None]] = {"by hand": by_hand, "sweep": sweep, "basic": basic}


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
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(options.rounds):
        for name, contender in CONTENDERS.items():
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                contender(list(range(options.jobs)), f"tracking.uri=sqlite:///{folder}/mlflow.db")
                seconds[name].append(time.perf_counter() - began)
            print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    for name, times in seconds.items():
        ratio = np.median(np.array(times) / np.array(seconds["by hand"]))
        job = np.median(times) / options.jobs
        print(f"{name:10} {np.median(times):8.1f} s  {job:6.2f} s a job  {ratio:.2f} × by hand")


if __name__ == "__main__":
    main()

"""Time of a sweep's own process for each job, as the number of jobs grows.

    python benchmarks/sweep_overhead.py [--jobs 1000] [--at-a-time 20]

The jobs of a grid and of an Optuna search end at once, as if other machines had trained them; each leaves a run with
the settings and metrics of a real one in the store. The time to write that run is a job's own, and is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
SWEEPS = {
    "grid": ("seed=range({jobs})",),
    "search": ("hydra/sweeper=optuna", "hydra.sweeper.n_trials={jobs}",
               "optimizer.lr=tag(log, interval(1e-4, 1e-1))"),
}  # fmt: skip
BLOCKS = 10


def simulate(arguments: list[str], blocks: int) -> None:
    """Run the sweep of these arguments; print the seconds a job of its own process, block by block, as JSON."""
    import mlflow
    import pytest
    from hydra import compose, initialize_config_dir
    from mlflow.entities import Metric, Param, RunTag

    from cifar.config.compose import resolve
    from cifar.config.settings import flatten
    from cifar.sweep import jobs
    from helpers.sweeps import end_jobs_at_once

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        params = [Param(key, str(value)) for key, value in flatten(resolve(compose("config", ["data=digits"]))).items()]
    writing, ends = 0.0, []

    def record(job: jobs.Job) -> dict[str, str]:
        """Write the run of a job; what the job would have reported."""
        nonlocal writing
        began = time.perf_counter()
        given = dict(override.split("=", 1) for override in job.overrides if "=" in override)
        values = {"val/loss": float(np.random.default_rng(len(ends)).random()), "best/loss": 1.0}
        client = mlflow.MlflowClient()
        tags = {"mlflow.parentRunId": given["tracking.parent"], "settings_sha256": str(len(ends))}
        run = client.create_run(client.get_experiment_by_name("digits").experiment_id, run_name=job.name).info
        now = int(time.time() * 1000)
        metrics = [Metric(f"{name}{k}" if k else name, value, now, 0)
                   for k in range(20) for name, value in values.items()]  # fmt: skip
        client.log_batch(run.run_id, metrics, params, [RunTag(*tag) for tag in tags.items()])
        client.set_terminated(run.run_id)
        writing += time.perf_counter() - began
        ends.append(time.perf_counter() - writing)
        return {"status": "FINISHED", "run": run.run_id}

    end_jobs_at_once(pytest.MonkeyPatch(), record)
    sys.argv = ["run.py", *arguments]
    with contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    parts = np.array_split(np.diff(ends), blocks)
    print(json.dumps([float(part.mean()) for part in parts]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--at-a-time", type=int, default=20)
    options = parser.parse_args()
    for name, settings in SWEEPS.items():
        with tempfile.TemporaryDirectory() as folder:
            given = ["--multirun", *(setting.format(jobs=options.jobs) for setting in settings), "data=digits",
                     f"hydra.launcher.n_jobs={options.at_a_time}",
                      f"tracking.uri=sqlite:///{folder}/mlflow.db"]  # fmt: skip
            done = subprocess.run(
                [sys.executable, __file__, "simulate", *given], check=True, stdout=subprocess.PIPE, text=True,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}, cwd=folder,
            )  # fmt: skip
            seconds = json.loads(done.stdout.splitlines()[-1])
        print(f"{name}: {np.mean(seconds):.3f} s a job; by tenths: {' '.join(f'{one:.3f}' for one in seconds)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["simulate"]:
        simulate(sys.argv[2:], BLOCKS)
    else:
        main()

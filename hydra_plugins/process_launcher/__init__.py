"""Sweeps whose every job is a process of its own: `hydra/launcher=process`."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cifar import config as configuration
from cifar import experiment, interrupts
from cifar.config import Settings
from cifar.environment import ROOT
from cifar.errors import DEBUG, Interrupted, TrainingError

ConfigStore.instance().store(
    group="hydra/launcher",
    name="process",
    node={"_target_": "hydra_plugins.process_launcher.ProcessLauncher"},
    provider="cifar",
)

COLUMNS = ("best/epoch", "best/loss", "best/accuracy", "test/accuracy")


class ProcessLauncher(Launcher):
    """Runs the jobs of a sweep one after the other, as children of one parent run.

    The settings of all jobs are checked before the first starts. A job that fails does not keep the others from
    running; the sweep is FAILED then and ends with exit code 1.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        self._remove_folder()
        settings = [self._settings(overrides) for overrides in job_overrides]
        from cifar import tracking

        tracking.connect(settings[0].tracking.uri)
        names = _names(job_overrides)
        name = "sweep of " + ", ".join(dict.fromkeys(part.split("=")[0] for part in " ".join(names).split()))
        with interrupts.handled(), tracking.start(settings[0].tracking.model_copy(update={"name": name})) as parent:
            print(f"sweep {parent.id}: {len(names)} jobs")
            rows = []
            for number, (job, overrides) in enumerate(zip(names, job_overrides, strict=True), 1):
                print(f"\njob {number}/{len(names)}: {job}", flush=True)
                code = _run([*overrides, f"tracking.parent={parent.id}", f"tracking.name={_quoted(job)}"])
                child = parent.children().get(job)
                metrics = child.metrics if child else {}
                rows.append({
                    "job": job,
                    "status": child.status if child else f"exit code {code}",
                    **{column: metrics.get(column, "") for column in COLUMNS},
                    "run": child.id if child else "",
                    "exit_code": code,
                })
                parent.log_table(rows, "results.csv")
            print("\n" + _table(rows))
            if failed := [row["job"] for row in rows if row["exit_code"]]:
                raise TrainingError(f"{len(failed)} of {len(rows)} jobs failed: {'; '.join(failed)}")
        return [
            JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=row)
            for overrides, row in zip(job_overrides, rows, strict=True)
        ]

    def _settings(self, overrides: Sequence[str]) -> Settings:
        composed = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        settings = configuration.resolve(composed)
        experiment.Experiment.prepare(settings)
        return settings

    def _remove_folder(self) -> None:
        """Hydra's sweeper writes a folder of its own, which holds nothing that the runs do not."""
        folder = Path(self._config.hydra.sweep.dir)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            for parent in list(folder.parents)[:-1]:
                parent.rmdir()


def _names(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """What tells the jobs apart: the overrides that they do not all share."""
    shared = set.intersection(*map(set, job_overrides)) if len(job_overrides) > 1 else set()
    return [" ".join(part for part in overrides if part not in shared) or "all defaults" for overrides in job_overrides]


def _run(overrides: Sequence[str]) -> int:
    """The exit code of `python run.py` with `overrides`; a signal that ends the sweep is passed on to the job."""
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR" or DEBUG}
    # In a session of its own, the job does not hear the terminal's Ctrl-C beside what is passed on.
    job = subprocess.Popen([sys.executable, ROOT / "run.py", *overrides], env=environment, start_new_session=True)
    try:
        return job.wait()
    except Interrupted as error:
        job.send_signal(error.signum)
        job.wait()
        raise


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _table(rows: Sequence[dict[str, object]]) -> str:
    """`rows` as text in columns."""
    cells = [list(rows[0]), *([f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row.values()]
                              for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in cells)

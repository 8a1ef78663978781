"""`hydra/launcher=process`: each job of `--multirun` is a process of its own, or a job of a cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cifar import mistakes
from cifar.errors import InputError
from cifar.lazy import Lazy
from cifar.text import unescaped

if TYPE_CHECKING:
    from cifar.config import Settings
    from cifar.contracts import Dataset
    from cifar.sweep.jobs import Options

# Hydra imports this whatever is asked of it.
configuration, experiment, schema = Lazy("cifar.config"), Lazy("cifar.experiment"), Lazy("cifar.schema")
engine, grid, jobs = Lazy("cifar.sweep.engine"), Lazy("cifar.sweep.grid"), Lazy("cifar.sweep.jobs")
sent, on_ray = Lazy("cifar.sweep.sent"), Lazy("cifar.sweep.on_ray")
tracking = Lazy("cifar.tracking")

URI = "tracking.uri="
"""How an override begins that may hold a password: it is part of no name."""


class ProcessLauncher(Launcher):
    """Runs the jobs as children of one parent run; their settings are all checked before the first starts."""

    def __init__(self, **options: Any):
        self._options = options
        self._loaded: tuple[str, Dataset] | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        # Not in `__init__`, where Hydra would wrap the line that tells a mistake in others.
        self.options = schema.validate(self._kind(), self._options, "hydra.launcher")
        self.options.check()
        self._context, self._config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        settings = [self.check(overrides) for overrides in job_overrides]
        self._loaded = None
        names = _names(job_overrides)
        own = [jobs.Job(unescaped(name), (*overrides, named(name)))
               for name, overrides in zip(names, job_overrides, strict=True)]  # fmt: skip
        varied = dict.fromkeys(part.split("=")[0] for part in " ".join(names).split())
        source = grid.Grid(f"sweep of {', '.join(varied)}", own, settings)
        tracking.connect(settings[0].tracking.uri)
        outcomes = engine.run(source, settings[0].tracking, settings[0].objectives, self.options)
        by_name = {outcome.job.name: outcome for outcome in outcomes}
        return [
            JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=by_name[unescaped(name)])
            for name, overrides in zip(names, job_overrides, strict=True)
        ]

    def check(self, overrides: Sequence[str]) -> Settings:
        """The settings of a job; raises `InputError` where it could not start."""
        composed = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        mistakes.refuse_mixtures(composed.hydra)
        settings = configuration.resolve(composed)
        experiment.check(settings)
        if settings.dry_run:
            raise InputError("dry_run=true: is for a single run, not for a sweep")
        settings = tracking.with_model_of_run(settings)
        experiment.Experiment.prepare(settings, self._dataset(settings))
        return settings

    def _kind(self) -> type[Options]:
        return jobs.Options

    def _dataset(self, settings: Settings) -> Dataset:
        """The data of a job; that of the last is kept, since most sweeps have one for all."""
        key = json.dumps([settings.data, settings.seed])
        if not self._loaded or self._loaded[0] != key:
            self._loaded = key, experiment.load(settings)
        return self._loaded[1]


class SubmititLauncher(ProcessLauncher):
    """The same, with jobs that submitit sends to a cluster."""

    def _kind(self) -> type[Options]:
        return sent.Submitted


class RayLauncher(ProcessLauncher):
    """The same, with jobs that are tasks of Ray."""

    def _kind(self) -> type[Options]:
        return on_ray.OnRay


def check(launcher: Launcher, config: DictConfig) -> None:
    """Raises `InputError` for another launcher, such as Hydra's basic one, which writes folders of its own."""
    # Hydra executes a plugin's module again when it looks for plugins: the class is the one that is there by now.
    if not isinstance(launcher, ProcessLauncher):
        chosen = config.hydra.runtime.choices["hydra/launcher"]
        raise InputError(f"hydra/launcher={chosen}: should be process, ray or submitit")


def named(name: str) -> str:
    """The override that gives a run its `name`, whatever is in it."""
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"tracking.name='{escaped}'"


def _names(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """What tells the jobs apart: the overrides that they do not all share."""
    shared = set.intersection(*map(set, job_overrides)) if len(job_overrides) > 1 else set()
    own = [[part for part in parts if part not in shared and not part.startswith(URI)] for parts in job_overrides]
    return [" ".join(parts) or "all defaults" for parts in own]

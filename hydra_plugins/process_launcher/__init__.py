"""`hydra/launcher=process`: each job of `--multirun` is a process of its own, or a job of a cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cifar.config import command_line, hydra_errors
from cifar.runtime.errors import InputError
from cifar.runtime.status import status
from cifar.runtime.terminal import unescaped

if TYPE_CHECKING:
    from cifar.config.settings import Settings
    from cifar.interfaces import Dataset
    from cifar.sweep import confirm
    from cifar.sweep.jobs import Options

# Hydra imports this whatever is asked of it.

URI = "tracking.uri="
"""How an override begins that may hold a password: it is part of no name."""


class ProcessLauncher(Launcher):
    """Runs the jobs as children of one parent run; their settings are all checked before the first starts."""

    def __init__(self, **options: Any):
        self._options = options
        self._loaded: tuple[str, Dataset] | None = None
        self.confirmation: confirm.Options | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        # Not in `__init__`, where Hydra would wrap the error message.
        from cifar.config import schema

        self.options = schema.validate(self._kind(), self._options, "hydra.launcher")
        self.options.check()
        self._context, self._config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        with status("loading MLflow"):
            from cifar import tracking
            from cifar.sweep import confirmation, engine, grid, jobs, search

        with status(f"checking {len(job_overrides)} jobs"):
            settings = [self.check(overrides) for overrides in job_overrides]
        self._loaded = None
        search.check_shared(settings)
        if self.confirmation:
            self.confirmation.check(settings[0].objectives)
        firsts = grid.distinct(settings)
        own = sorted(set(firsts))
        names = dict(zip(own, job_names([job_overrides[n] for n in own], [settings[n] for n in own]), strict=True))
        if equal := [n for n, first in enumerate(firsts) if n != first]:
            same = dict.fromkeys(names[firsts[n]] for n in equal)
            print(
                f"{len(equal)} of {len(firsts)} jobs have the settings of another and are not run again: "
                f"{'; '.join(same)}"
            )
        made = {jobs.Job(name, tuple(job_overrides[n])): settings[n] for n, name in names.items()}
        varied = ", ".join(varied_keys([job_overrides[n] for n in own]))
        source: engine.Source = grid.Grid(f"sweep of {varied}", grid.key(settings), made)
        if self.confirmation and self.confirmation.confirm:
            metric = settings[0].objectives[0]
            source = confirmation.Confirmed(source, self.confirmation, metric, self.settings_of)
        tracking.connect(settings[0].tracking.uri)
        outcomes = engine.run(source, settings[0].tracking, settings[0].objectives, self.options)
        by_name = {outcome.job.name: outcome for outcome in outcomes}
        return [
            JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=by_name[names[first]])
            for first, overrides in zip(firsts, job_overrides, strict=True)
        ]

    def check(self, overrides: Sequence[str]) -> Settings:
        """The settings of a job; raises `InputError` where it could not start."""
        from cifar.training import experiment

        settings = self.settings_of(overrides)
        experiment.Experiment.prepare(settings, self._dataset(settings))
        return settings

    def settings_of(self, overrides: Sequence[str]) -> Settings:
        """The settings of a job, which go together; its data are not loaded."""
        from cifar import tracking
        from cifar.config import compose
        from cifar.training import checks

        composed = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        hydra_errors.refuse_mixtures(composed.hydra)
        settings = compose.resolve(composed)
        checks.check_settings(settings)
        if settings.dry_run:
            raise InputError("dry_run=true: is for a single run, not for a sweep")
        return tracking.with_model_of_run(settings)

    def _kind(self) -> type[Options]:
        from cifar.sweep.launchers import local

        return local.Local

    def _dataset(self, settings: Settings) -> Dataset:
        """The data of a job; that of the last is kept, since most sweeps have one for all."""
        from cifar.training import experiment

        key = json.dumps([settings.data.model_dump(), settings.seed])
        if not self._loaded or self._loaded[0] != key:
            self._loaded = key, experiment.load(settings)
        return self._loaded[1]


class SubmititLauncher(ProcessLauncher):
    """The same, with jobs that submitit sends to a cluster."""

    def _kind(self) -> type[Options]:
        from cifar.sweep.launchers import submitit

        return submitit.Submitted


class RayLauncher(ProcessLauncher):
    """The same, with jobs that are tasks of Ray."""

    def _kind(self) -> type[Options]:
        from cifar.sweep.launchers import ray

        return ray.OnRay


def check(launcher: Launcher, config: DictConfig) -> None:
    """Raises `InputError` for another launcher, such as Hydra's basic one, which writes folders of its own."""
    # Hydra executes a plugin's module again when it looks for plugins: the class is the one that is there by now.
    if not isinstance(launcher, ProcessLauncher):
        chosen = config.hydra.runtime.choices["hydra/launcher"]
        raise InputError(f"hydra/launcher={chosen}: should be process, ray or submitit")


def job_names(job_overrides: Sequence[Sequence[str]], settings: Sequence[Settings]) -> list[str]:
    """The name of each job: the overrides that not all jobs share, without the quotes around their texts."""
    shared = set.intersection(*map(set, job_overrides)) if len(job_overrides) > 1 else set()
    own = [[part for part in parts if part not in shared and not part.startswith(URI)] for parts in job_overrides]
    quoted = [" ".join(parts) or "all defaults" for parts in own]
    names = [unescaped(" ".join(_shown(part, one) for part in parts) or "all defaults")
             for parts, one in zip(own, settings, strict=True)]  # fmt: skip
    return names if len(set(names)) == len(names) else [unescaped(name) for name in quoted]


def _shown(override: str, settings: Settings) -> str:
    """An override without the quotes around its text, references in it resolved."""
    from cifar.config import settings as configuration

    key, value = command_line.parts(override)
    if "${" in value:
        value = configuration.flatten(settings).get(key.lstrip("+"), value)
    return f"{key}={value}"


def varied_keys(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """The keys whose values are not the same in all jobs; all that are given where there is one job."""
    shared = set.intersection(*map(set, job_overrides)) if len(job_overrides) > 1 else set()
    parts = [part for parts in job_overrides for part in parts if part not in shared and not part.startswith(URI)]
    return list(dict.fromkeys(part.partition("=")[0] for part in parts)) or ["all defaults"]

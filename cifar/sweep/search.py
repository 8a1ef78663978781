"""The settings of a search, their checks, and its identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator

from cifar.config import renamed
from cifar.config.builders import BuilderSettings
from cifar.config.registry import PRUNERS, SAMPLERS
from cifar.config.schema import PositiveInt
from cifar.config.settings import Settings, flatten, identity
from cifar.runtime.errors import InputError
from cifar.search import storage
from cifar.sweep import confirm
from cifar.sweep.space import Choice, Space


class Options(confirm.Options):
    """How a study is searched: what `conf/hydra/sweeper/optuna.yaml` states."""

    n_trials: PositiveInt
    storage: str | None
    study_name: Annotated[str, Field(min_length=1)] | None
    sampler: Annotated[BuilderSettings, SAMPLERS]
    pruner: Annotated[BuilderSettings, PRUNERS]
    params: dict[str, Any]

    @field_validator("sampler", "pruner", mode="before")
    @classmethod
    def _refuse_names(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("be chosen as a group, such as hydra/sweeper/sampler=random")
        return value

    @property
    def prunes(self) -> bool:
        return self.pruner.name != "none"


def check(options: Options, space: Space, settings: Sequence[Settings]) -> None:
    """Raises `InputError` where the sampler or the pruner cannot be used, or not for this.

    `settings` are those of jobs at the ends of the `space`.
    """
    if options.storage:
        storage.check(options.storage)
    sampler, objectives = options.sampler.name, settings[0].objectives
    numbers = [name for name, dimension in space.items() if not isinstance(dimension, Choice)]
    endless = [name for name, dimension in space.items() if dimension.values is None]
    if sampler == "grid" and endless:
        raise InputError(f"hydra/sweeper/sampler=grid: {endless[0]} has no end of values; give it a range or a choice")
    if sampler == "cmaes" and (len(objectives) > 1 or not numbers):
        raise InputError("hydra/sweeper/sampler=cmaes: searches numbers, by one objective")
    if options.prunes and (len(objectives) > 1 or not objectives[0].startswith("val/")):
        raise InputError(
            f"hydra/sweeper/pruner={options.pruner.name}: prunes by one validation metric, "
            f"not by {', '.join(objectives)}"
        )
    options.check(objectives)
    check_shared(settings)
    if len({one.tracking.experiment for one in settings}) > 1:
        raise InputError("tracking.experiment: should be the same in all jobs of a search")


def check_shared(settings: Sequence[Settings]) -> None:
    """Raises `InputError` where jobs differ in what a sweep has as a whole."""
    for name, values in (("objective", {str(one.objectives) for one in settings}),
                         ("tracking.uri", {one.tracking.uri for one in settings})):  # fmt: skip
        if len(values) > 1:
            raise InputError(f"{name}: should be the same in all jobs of a sweep")


def fingerprint(options: Options, space: Space, settings: Settings) -> str:
    """SHA-256, in hexadecimal, of what makes the trials of a study comparable.

    `settings` are those of a job at one end of the `space`. A study without a name is this very search's, with its
    sampler and pruner.
    """
    own = [options.study_name] if options.study_name else [options.sampler.model_dump(), options.pruner.model_dump()]
    searched = sorted((renamed.oldest_key(name), repr(dimension)) for name, dimension in space.items())
    flat = flatten(settings)
    objectives = [renamed.old_metric(name, flat) or name for name in settings.objectives]
    parts = [identity(settings), settings.epochs, objectives, searched, own]
    if settings.evaluate.test:
        parts.append("evaluate.test")
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

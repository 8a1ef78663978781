"""`hydra/sweeper=grid`: the jobs of `--multirun` are all combinations of the given values.

It reads the command line as Hydra's basic sweeper does, but does not create `hydra.sweep.dir`: a sweep is recorded in
MLflow alone, and a command that is refused creates nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cifar.runtime.errors import InputError
from hydra_plugins import process_launcher as launchers


class GridSweeper(Sweeper):
    """Gives the launcher the grid of all values, in batches of `max_batch_size` jobs, or all at once."""

    def __init__(self, max_batch_size: int | None, params: Mapping[str, str] | None, **confirmation: Any):
        self._max_batch_size, self._params, self._confirmation = max_batch_size, params or {}, confirmation

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        if self._max_batch_size is not None and self._max_batch_size < 1:
            raise InputError(f"hydra.sweeper.max_batch_size={self._max_batch_size}: should be 1 or more, or null")
        from cifar.config import schema
        from cifar.sweep import confirm

        options = schema.validate(confirm.Options, self._confirmation, "hydra.sweeper")
        if options.confirm and self._max_batch_size:
            raise InputError(
                f"hydra.sweeper.confirm={options.confirm}: confirms the best of all jobs, and cannot go with "
                f"hydra.sweeper.max_batch_size={self._max_batch_size}"
            )
        self._parser = OverridesParser.create(config_loader=hydra_context.config_loader)
        self._launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)
        launchers.check(self._launcher, config)
        self._launcher.confirmation = options

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        given = [*(f"{key}={value}" for key, value in self._params.items()), *arguments]
        jobs = combinations(self._parser.parse_overrides(given))
        size = self._max_batch_size or len(jobs)
        return [self._launcher.launch(jobs[start : start + size], start) for start in range(0, len(jobs), size)]


def combinations(overrides: Sequence[Override]) -> list[list[str]]:
    """The overrides of each job, the last setting varying fastest; of a key that is given twice, the last one counts.

    Raises `InputError` for an override whose values cannot be listed, such as an interval.
    """
    choices = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            values = [override.get_value_element_as_str()]
        elif override.is_discrete_sweep():
            values = override.sweep_string_iterator()
        else:
            raise InputError(
                f"{override.input_line}: an interval has no list of values; hydra/sweeper=optuna searches it"
            )
        choices[key] = [f"{key}={value}" for value in values]
    return [list(job) for job in itertools.product(*choices.values())]

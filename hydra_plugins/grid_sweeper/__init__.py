"""`hydra/sweeper=grid`: the jobs of `--multirun` are all combinations of the given values.

It reads the command line as Hydra's basic sweeper does, but does not create `hydra.sweep.dir`: a sweep is recorded in
MLflow alone, and a command that is refused creates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins import process_launcher as launchers


class GridSweeper(Sweeper):
    """Gives the launcher the grid of all values, in batches of `max_batch_size` jobs, or all at once."""

    def __init__(self, max_batch_size: int | None, params: Mapping[str, str] | None):
        self._max_batch_size, self._params = max_batch_size, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._parser = OverridesParser.create(config_loader=hydra_context.config_loader)
        self._launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)
        launchers.check(self._launcher, config)

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        # Hydra imports a plugin's module whatever is asked of it.
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        given = [*(f"{key}={value}" for key, value in self._params.items()), *arguments]
        batches = BasicSweeper.split_arguments(self._parser.parse_overrides(given), self._max_batch_size)
        started, returns = 0, []
        for batch in batches:
            returns.append(self._launcher.launch(batch, initial_job_idx=started))
            started += len(batch)
        return returns

"""`hydra/sweeper=race`: `--multirun` trains contenders with the same seeds until one of them is better."""

from __future__ import annotations

from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cifar.runtime.errors import InputError
from cifar.runtime.status import status
from hydra_plugins import grid_sweeper
from hydra_plugins import process_launcher as launchers

# Hydra imports this whatever is asked of it.


class RaceSweeper(Sweeper):
    """The contenders are all combinations of the given values, as in a grid; the seeds are the race's."""

    def __init__(self, **options: Any):
        self._options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from cifar.config import schema
        from cifar.sweep import race

        self._race = schema.validate(race.Options, self._options, "hydra.sweeper")
        self._parser = OverridesParser.create(config_loader=hydra_context.config_loader)
        self._launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)
        launchers.check(self._launcher, config)

    def sweep(self, arguments: list[str]) -> None:
        from cifar.sweep import race

        overrides = self._parser.parse_overrides(arguments)
        for override in overrides:
            if override.key_or_group == "seed" and override.is_sweep_override():
                raise InputError(f"{override.input_line}: a race takes the seeds from one on, such as seed=0")
        contenders = grid_sweeper.combinations(overrides)
        if len(contenders) < 2:
            raise InputError("hydra/sweeper=race: no contenders, such as model=cnn3,resnet20")
        with status(f"checking {len(contenders)} contenders"):
            settings = [self._launcher.check(contender) for contender in contenders]
        race.check(settings)
        own = [[part for part in contender if not part.startswith("seed=")] for contender in contenders]
        names = launchers.job_names(own, settings)
        race.run(self._race, self._launcher.options, dict(zip(names, zip(own, settings, strict=True), strict=True)))

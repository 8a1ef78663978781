"""`hydra/sweeper=optuna`: the jobs of `--multirun` are the trials of a study, in Hydra's own grammar of sweeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep, Transformer
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from cifar.runtime.errors import InputError, did_you_mean
from cifar.runtime.status import status
from hydra_plugins import process_launcher as launchers

if TYPE_CHECKING:
    from cifar.sweep.space import Dimension

# Hydra imports this whatever is asked of it.


class OptunaSweeper(Sweeper):
    """Reads what is searched from the command line and from `params`, where the command line has the last word."""

    def __init__(self, **options: Any):
        self._options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        with status("loading Optuna"):
            from cifar.config import schema
            from cifar.sweep import search

        options: Any = OmegaConf.to_container(OmegaConf.create(self._options), resolve=True)
        self._search = schema.validate(search.Options, options, "hydra.sweeper")
        self._parser = OverridesParser.create(config_loader=hydra_context.config_loader)
        self._launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)
        launchers.check(self._launcher, config)

    def sweep(self, arguments: list[str]) -> None:
        from cifar.sweep import search, trials

        params = [f"{key}={_encoded(value)}" for key, value in self._search.params.items()]
        overrides = {_key(one): one for one in self._parser.parse_overrides([*params, *arguments])}
        searched = {key: one for key, one in overrides.items() if one.is_sweep_override()}
        fixed = [one.input_line for key, one in overrides.items() if key not in searched]
        dimensions = {key: _dimension(one) for key, one in searched.items()}
        if not dimensions:
            raise InputError("hydra/sweeper=optuna: nothing to search, such as 'optimizer.lr=interval(1e-4, 1e-1)'")

        def values_of(values: Mapping[str, Any]) -> list[str]:
            return [f"{one.get_key_element()}={_encoded(values[key])}" for key, one in searched.items()]

        with status("checking the search space"):
            settings = [self._launcher.check([*fixed, *values_of(corner)]) for corner in _corners(dimensions)]
        search.check(self._search, dimensions, settings)
        if self._search.prunes:
            fixed.append("++callbacks.prune.monitor=${objective}")
        trials.run(
            self._search,
            self._launcher.options,
            dimensions,
            settings,
            lambda values: (*fixed, *values_of(values)),
            self._launcher.settings_of,
        )


def _key(override: Override) -> str:
    return override.key_or_group + (f"@{override.package}" if override.package else "")


def _dimension(override: Override) -> Dimension:
    """The values that an override lets be chosen from; raises `InputError` where it holds none."""
    from cifar.sweep import space

    value = override.value()
    if isinstance(value, ChoiceSweep):
        value.shuffle = False  # which would make another search of it each time
    tags = value.tags if isinstance(value, Sweep) else set()
    if unknown := tags - {"log"}:
        raise InputError(f"{override.input_line}: unknown tag {unknown.pop()}; {did_you_mean('', ['log'])}")
    if isinstance(value, IntervalSweep):
        dimension = space.Interval(value.start, value.end, "log" in tags)
    elif isinstance(value, RangeSweep):
        dimension = space.steps(value.start, value.stop, value.step, "log" in tags)
    elif tags:
        raise InputError(f"{override.input_line}: log is for numbers")
    else:
        dimension = space.Choice(list(dict.fromkeys(override.sweep_string_iterator())))
    space.check(override.input_line, dimension)
    return dimension


def _encoded(value: Any) -> str:
    """A value as Hydra's grammar takes it; a text of a choice is so already."""
    return value if isinstance(value, str) else Transformer.str(value)


def _corners(dimensions: Mapping[str, Dimension]) -> Iterator[Mapping[str, Any]]:
    """Values of all settings in which each has both its ends, or all its choices, at least once."""
    ends: dict[str, Sequence[Any]] = {key: dimension.ends for key, dimension in dimensions.items()}
    for number in range(max(map(len, ends.values()))):
        yield {key: values[min(number, len(values) - 1)] for key, values in ends.items()}

"""Builders by name: the choices that the YAML under `conf/` can make.

Each registry knows its home, a module or a package, and imports it and its modules at the first look-up, so that a new
builder is found by being defined there. A package inside a home names its builders in its `__init__`. The keyword-only
parameters of a builder are its settings, with their types and ranges; what stands before the `*` is handed over by the
framework.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar

from cifar.config.builders import BuilderSettings, DataSettings, ModelSettings, OptimizerSettings, settings_of
from cifar.config.renamed import unknown_choice
from cifar.config.schema import Group
from cifar.runtime.errors import InputError

Builder = Callable[..., Any]
Record = TypeVar("Record", bound=BuilderSettings)


class Registry(Group, Generic[Record]):
    """The builders of one configuration group; `base` is what the settings of all of them have."""

    def __init__(self, group: str, home: str, base: type[Record]):
        self.group = group
        self.home = home
        self._base = base
        self._builders: dict[str, Builder] = {}
        self._records: dict[str, type[Record]] = {}

    def register(self, builder: Builder) -> Builder:
        """Make `builder` a choice of this group under its own name (a decorator)."""
        name = builder.__name__
        if name in self._builders:
            raise ValueError(
                f"{self.group} {name!r} is registered twice: in {self._builders[name].__module__} and "
                f"in {builder.__module__}"
            )
        self._builders[name] = builder
        return builder

    def names(self) -> list[str]:
        """The registered names, sorted."""
        return sorted(self.registered())

    def registered(self) -> list[str]:
        """The registered names, in the order of their definition."""
        home = importlib.import_module(self.home)
        for module in pkgutil.iter_modules(getattr(home, "__path__", ())):
            importlib.import_module(f"{self.home}.{module.name}")
        return list(self._builders)

    def parse(self, given: Mapping[str, Any], where: str | None = None, name: str | None = None) -> Record:
        """The settings `given` for the choice `name`, converted to the types of its builder's signature.

        The name is that in `given` by default, and the builder has it too unless `given` has another `builder`. `where`
        is the dotted key of these settings, the group by default. Raises `InputError` for an unknown name and for an
        unknown, missing, mistyped or out-of-range setting.
        """
        where = where or self.group
        key = "builder" if "builder" in given else "name"
        builder = given.get(key, name)
        if builder not in self.names():
            message = unknown_choice(self.group, builder, self._builders, kind=self.group)
            raise InputError(f"{where}.{key}={builder}: {message}")
        return self.record(builder).of(given, name or given.get("name", builder), where)

    def builder(self, name: str) -> Builder:
        """The builder called `name`, which is one of `names`."""
        return self._builders[name]

    def literal(self) -> Any:
        """The type of a setting that is one of the names."""
        return Literal[tuple(self.registered())]

    def record(self, name: str) -> type[Record]:
        """The type of the settings of the builder called `name`."""
        if name not in self._records:
            self._records[name] = settings_of(self._builders[name], self._base, self.group)
        return self._records[name]

    def build(self, given: Mapping[str, Any], **runtime: Any) -> Any:
        """What the builder that `given` names makes of these settings and of `runtime`; raises `InputError`."""
        return self.parse(given).build(**runtime)


class Entries(Group):
    """The settings of any number of choices of a registry, by name."""

    def __init__(self, registry: Registry[Any]):
        self._registry = registry

    def parse(self, given: Mapping[str, Any], where: str | None = None) -> dict[str, Any]:
        where = where or self._registry.group
        return {
            name: self._registry.parse(entry, f"{where}.{name}", name) if isinstance(entry, Mapping) else entry
            for name, entry in given.items()
        }


DATASETS = Registry("data", "cifar.data", DataSettings)
TASKS = Registry("task", "cifar.tasks", BuilderSettings)
MODELS = Registry("model", "cifar.models", ModelSettings)
AUGMENTATIONS = Registry("augmentation", "cifar.augmentation", BuilderSettings)
OPTIMIZERS = Registry("optimizer", "cifar.optim.optimizers", OptimizerSettings)
SCHEDULES = Registry("schedule", "cifar.optim.schedules", BuilderSettings)
AVERAGING = Registry("weight_averaging", "cifar.optim.averaging", BuilderSettings)
CALLBACKS = Registry("callbacks", "cifar.training.callbacks", BuilderSettings)
SAMPLERS = Registry("hydra/sweeper/sampler", "cifar.search.samplers", BuilderSettings)
PRUNERS = Registry("hydra/sweeper/pruner", "cifar.search.pruners", BuilderSettings)

ALL = (DATASETS, TASKS, MODELS, AUGMENTATIONS, OPTIMIZERS, SCHEDULES, AVERAGING, CALLBACKS, SAMPLERS, PRUNERS)

KINDS = ("classification", "multilabel", "detection", "segmentation")
LOSSES = {kind: Registry("loss", f"cifar.tasks.losses.{kind}", BuilderSettings) for kind in KINDS}
"""What `task.loss` chooses from; in detection `task.box_loss`."""
METRICS = {kind: Registry("metric", f"cifar.metrics.choices.{kind}", BuilderSettings) for kind in KINDS}
"""The test metrics of each task: all of them are computed."""

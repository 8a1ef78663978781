"""Builders by name: the choices that the YAML under `conf/` can make.

Each registry knows its home, a module or a package, and imports it and its modules at the first look-up, so that a new
builder is found by being defined there. A package inside a home names its builders in its `__init__`. The keyword-only
parameters of a builder are its settings, with their types and ranges; what stands before the `*` is handed over by the
framework.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from cifar.config.renamed import unknown_choice
from cifar.config.schema import settings_of, validate
from cifar.runtime.errors import InputError


class Registry:
    """The builders of one configuration group."""

    def __init__(self, group: str, home: str):
        self.group = group
        self.home = home
        self._builders: dict[str, Callable] = {}

    def register(self, builder: Callable) -> Callable:
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
        home = importlib.import_module(self.home)
        for module in pkgutil.iter_modules(getattr(home, "__path__", ())):
            importlib.import_module(f"{self.home}.{module.name}")
        return sorted(self._builders)

    def check(self, settings: Mapping[str, Any], where: str | None = None) -> dict[str, Any]:
        """The settings of the builder that `settings` name, converted to the annotated types.

        The builder is that of `settings["name"]`, by which runs are called, unless there is a `settings["builder"]`.
        `where` is the dotted key of these settings, the group by default. Raises `InputError` for an unknown name
        and for an unknown, missing, mistyped or out-of-range setting.
        """
        where = where or self.group
        record = settings_of(self._builder(settings, where))
        checked = validate(record, {key: settings[key] for key in settings if key not in ("name", "builder")}, where)
        return {name: getattr(checked, name) for name in record.model_fields}

    def build(self, settings: Mapping[str, Any], **runtime: Any) -> Any:
        """Call the builder that `settings` name with its checked settings and what it asks of `runtime`.

        A builder names before the `*` of its signature what it needs of that which the framework offers.
        """
        checked = self.check(settings)
        builder = self._builder(settings, self.group)
        wanted = [name for name in inspect.signature(builder).parameters if name in runtime]
        return builder(**{name: runtime[name] for name in wanted}, **checked)

    def takes(self, settings: Mapping[str, Any], name: str) -> bool:
        """True if the builder that `settings` name asks the framework for `name`."""
        parameter = inspect.signature(self._builder(settings, self.group)).parameters.get(name)
        return parameter is not None and parameter.kind is not parameter.KEYWORD_ONLY

    def _builder(self, settings: Mapping[str, Any], where: str) -> Callable:
        key = "builder" if "builder" in settings else "name"
        name = settings.get(key)
        if name not in self.names():
            message = unknown_choice(self.group, name, self._builders, kind=self.group)
            raise InputError(f"{where}.{key}={name}: {message}")
        return self._builders[name]


DATASETS = Registry("data", "cifar.data")
TASKS = Registry("task", "cifar.tasks")
MODELS = Registry("model", "cifar.models")
AUGMENTATIONS = Registry("augmentation", "cifar.augmentation")
OPTIMIZERS = Registry("optimizer", "cifar.optim.optimizers")
SCHEDULES = Registry("schedule", "cifar.optim.schedules")
AVERAGING = Registry("weight_averaging", "cifar.optim.averaging")
CALLBACKS = Registry("callbacks", "cifar.training.callbacks")
SAMPLERS = Registry("hydra/sweeper/sampler", "cifar.search.samplers")
PRUNERS = Registry("hydra/sweeper/pruner", "cifar.search.pruners")

ALL = (DATASETS, TASKS, MODELS, AUGMENTATIONS, OPTIMIZERS, SCHEDULES, AVERAGING, CALLBACKS, SAMPLERS, PRUNERS)

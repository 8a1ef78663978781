"""The groups of `conf/` and their choices, each with its description.

A choice is described by the first line of its builder's docstring, or by the comment at the top of its YAML file where
it is no builder's name; a group by the comment on the line of the file that makes its default choice.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, NamedTuple

from cifar.config import search_path, yaml_comments
from cifar.config.registry import ALL, Registry
from cifar.runtime.paths import CONF

DEFAULTS = {"config.yaml": "", "hydra/default/grid.yaml": "", "hydra/sweeper/optuna.yaml": "hydra/sweeper/"}
"""The files that make the default choices, and what the names of their groups are relative to."""
REGISTRIES: dict[str, Registry[Any]] = {registry.group: registry for registry in ALL}


class Group(NamedTuple):
    """A group of choices."""

    name: str
    text: str
    defaults: tuple[str, ...]
    """The choices that are made by default; none, one, or several where they are put together."""

    @property
    def key(self) -> str:
        """The dotted key of its settings."""
        return self.name.replace("/", ".")


def groups() -> dict[str, Group]:
    """All groups by name, in the order in which `conf/config.yaml` composes them."""
    found = {}
    for file, above in DEFAULTS.items():
        for relative, stated in yaml_comments.defaults(CONF / file).items():
            name = f"{above}{relative}"
            if (CONF / name).is_dir() and name != "hydra/default":
                chosen = stated.value if isinstance(stated.value, list) else [stated.value]
                found[name] = Group(name, stated.comment, tuple(one for one in chosen if one != "null"))
    return found


def names(group: str) -> list[str]:
    """The choices of a group, sorted."""
    return sorted(search_path.choices(group))


def path(group: str, name: str) -> Path:
    """The YAML file of a choice."""
    return search_path.file(f"{group}/{name}.yaml")


def text(group: str, name: str) -> str:
    """The description of a choice, in one line without a period at its end; empty where nothing describes it."""
    registry = REGISTRIES.get(group)
    document = inspect.getdoc(registry.builder(name)) if registry and name in registry.names() else None
    if document:
        return document.splitlines()[0].removesuffix(".")
    return (yaml_comments.headline(path(group, name)) or _difference(path(group, name))).removesuffix(".")


def builder(group: str, name: str) -> str:
    """The name of the builder of a choice, which is its own unless its file, or one that it builds on, has another."""
    stated = yaml_comments.stated(path(group, name))
    for key in ("builder", "name"):
        if (key,) in stated:
            return str(stated[key,].value)
    return name


def _difference(file: Path) -> str:
    """What a choice without a description states beyond the file that it builds on."""
    bases, stated = yaml_comments.difference(file)
    changes = ", ".join(f"{key}={value}" for key, value in stated.items())
    return f"{' and '.join(bases)} with {changes}" if bases else ""

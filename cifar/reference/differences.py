"""What the settings of a run have otherwise than the defaults of `conf/`."""

from __future__ import annotations

from typing import Any, NamedTuple

from cifar.config import choices, describe
from cifar.config.hydra_errors import SEVERAL
from cifar.config.settings import Settings, flatten

OF_RUN = ("resume", "dry_run", "tracking")
"""Settings that say nothing of what is trained."""


class Difference(NamedTuple):
    """A setting by its key as it is typed, its value, and the default value; `None` where there is none."""

    key: str
    value: Any
    default: Any


def of(settings: Settings) -> list[Difference]:
    """The choices and the values that are not those of a command without settings.

    The settings of a choice are compared with the defaults of that choice.
    """
    flat = flatten(settings)
    root = describe.of_root()
    found = [
        Difference(key, flat[key], one.default)
        for key, one in root.items()
        if key in flat and key.partition(".")[0] not in OF_RUN and not _same(flat[key], one.default)
    ]
    for group in choices.groups().values():
        if group.name in SEVERAL:
            found += _of_several(group, getattr(settings, group.name))
        elif group.name in type(settings).model_fields:
            found += _of_one(group, settings, flat)
    return found


def _of_one(group: choices.Group, settings: Settings, flat: dict[str, Any]) -> list[Difference]:
    record = getattr(settings, group.name)
    known = choices.names(group.name)
    name = record.name if record.name in known else type(record).builder.__name__
    chosen = [] if name in group.defaults else [Difference(group.name, name, next(iter(group.defaults), None))]
    defaults = describe.of_choice(group.name, name) if name in known else {}
    return chosen + [
        Difference(f"{group.name}.{key}", flat[f"{group.name}.{key}"], one.default)
        for key, one in defaults.items()
        if f"{group.name}.{key}" in flat and not _same(flat[f"{group.name}.{key}"], one.default)
    ]


def _of_several(group: choices.Group, entries: dict[str, Any]) -> list[Difference]:
    found = []
    if {*entries} != {*group.defaults}:
        found.append(Difference(group.name, [*entries], [*group.defaults]))
    for name, record in entries.items():
        given = record.model_dump()
        for key, one in describe.of_choice(group.name, name).items():
            if key in given and not _same(given[key], one.default):
                found.append(Difference(f"{group.name}.{name}.{key}", given[key], one.default))
    return found


def _same(value: Any, default: Any) -> bool:
    """True for equal values, also where a record of earlier times has a number as text."""
    return value == default or str(value) == str(default)

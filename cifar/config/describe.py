"""Descriptions of settings.

The text of a setting is the comment on its line of the YAML file that states it, or, where many files state the same
record (`model.classifier`), the description of the record's field. Its type is that of the field, or where there is no
record, as for launchers, that of the value.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cifar.config import choices, yaml_comments
from cifar.config.hydra_errors import SEVERAL
from cifar.config.settings import Settings
from cifar.runtime.paths import CONF

REQUIRED = "???"
TYPES = {int: "integer", float: "number", str: "text", bool: "true/false", Any: ""}
OWN_KEYS = ("name", "builder", "defaults", "_target_")
"""Keys of a choice's file that are no settings."""


class Description(NamedTuple):
    """A setting: its text, type, bounds, accepted names and default value."""

    text: str
    type: str
    bounds: str
    """Such as `> 0, < 1`; empty if there are none."""
    choices: tuple[str, ...]
    default: Any
    """As the YAML file states it; `REQUIRED` if it must be given."""

    @property
    def default_text(self) -> str:
        """The default value as it is typed."""
        if isinstance(self.default, str):
            return self.default
        return json.dumps(self.default, ensure_ascii=False, separators=(",", ":"))

    @property
    def accepted(self) -> str:
        """Type and bounds, or the accepted names."""
        kinds = [kind for kind in self.type.split(" or ") if kind not in ("name", "null")]
        found = ", ".join([*self.choices, " or ".join(kinds)] if kinds else self.choices)
        return " ".join(filter(None, [found, self.bounds, "or null" * ("null" in self.type)]))


def of_root() -> dict[str, Description]:
    """The settings that belong to no choice of a group, by dotted key: those of `conf/config.yaml`."""
    return {
        key: one for key, one in _described(CONF / "config.yaml", Settings).items() if key.partition(".")[0] != "hydra"
    }


def of_choice(group: str, name: str) -> dict[str, Description]:
    """The settings of the choice `name` of a group, by dotted key below it."""
    registry = choices.REGISTRIES.get(group)
    if registry is None:
        return _described(choices.path(group, name), None) if group.startswith("hydra/") else {}
    builder = choices.builder(group, name)
    if builder not in registry.names():
        return {}
    return _described(choices.path(group, name), registry.record(builder), (name,) if group in SEVERAL else ())


def key(group: choices.Group, choice: str, name: str) -> str:
    """The dotted key, as it is typed, of the setting `name` of a choice."""
    return ".".join([group.key, *([choice] if group.name in SEVERAL else []), name])


def _described(path: Path, record: type[BaseModel] | None, above: tuple[str, ...] = ()) -> dict[str, Description]:
    found = {}
    for keys, stated in yaml_comments.stated(path).items():
        below = keys[len(above) :]
        if keys[: len(above)] != above or not below or below[0] in OWN_KEYS:
            continue
        if record is None:
            known = "" if stated.value is None else TYPES.get(type(stated.value), "")
            found[".".join(below)] = Description(stated.comment, known, "", (), stated.value)
        elif field := _field(record, below):
            text = stated.comment or field.description or ""
            found[".".join(below)] = Description(text, *_typed(field), stated.value)
    return found


def _field(record: Any, keys: tuple[str, ...]) -> FieldInfo | None:
    """The field of `record` under dotted `keys`; `None` where there is none."""
    field = None
    for key in keys:
        record = next((part for part in (record, *get_args(record)) if hasattr(part, "model_fields")), None)
        field = record.model_fields.get(key) if record else None
        if field is None:
            return None
        record = field.annotation
    return field


def _typed(field: FieldInfo) -> tuple[str, str, tuple[str, ...]]:
    """Type, bounds and choices of a field."""
    return (
        _name(field.annotation),
        ", ".join(dict.fromkeys(_bounds(field.annotation, field.metadata))),
        tuple(_names(field.annotation)),
    )


def _name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return "null"
    if origin is Annotated:
        return _name(arguments[0])
    if origin is Literal:
        return "name"
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_name, arguments)))
    if origin in (list, tuple):
        return f"list of {_name(arguments[0])}"
    if origin is dict:
        return "mapping"
    return TYPES.get(annotation, "settings")


def _bounds(annotation: Any, metadata: Any) -> Iterator[str]:
    signs = {Gt: ("> ", "gt"), Ge: (">= ", "ge"), Lt: ("< ", "lt"), Le: ("<= ", "le")}
    for one in metadata:
        if type(one) in signs:
            sign, name = signs[type(one)]
            yield f"{sign}{getattr(one, name)}"
        elif isinstance(one, FieldInfo):
            yield from _bounds(None, one.metadata)
    for argument in get_args(annotation) if get_origin(annotation) is not Literal else ():
        if get_origin(argument) is Annotated:
            yield from _bounds(get_args(argument)[0], get_args(argument)[1:])


def _names(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    else:
        for argument in get_args(annotation):
            yield from _names(argument)

"""Descriptions of settings.

The text of a setting is the comment on its line of the YAML file that states it, or, where many files state the same
record (`model.classifier`), the description of the record's field. Its type is that of the field.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from omegaconf import OmegaConf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cifar.config.hydra_errors import SEVERAL
from cifar.config.registry import Registry
from cifar.config.settings import Settings
from cifar.runtime.paths import CONF

REQUIRED = "???"


class Description(NamedTuple):
    """A setting: its text, type, bounds, accepted names and default value."""

    text: str
    type: str
    bounds: str
    """Such as `> 0, < 1`; empty if there are none."""
    choices: tuple[str, ...]
    default: Any
    """As the YAML file states it; `REQUIRED` if it must be given."""


def of_root() -> dict[str, Description]:
    """The settings that belong to no choice of a group, by dotted key: those of `conf/config.yaml`."""
    return _described(CONF / "config.yaml", Settings)


def of_choice(registry: Registry[Any], name: str) -> dict[str, Description]:
    """The settings of the choice `name` of a group, by dotted key below it."""
    above = (name,) if registry.group in SEVERAL else ()
    return _described(CONF / registry.group / f"{name}.yaml", registry.record(name), above)


def _described(path: Path, record: type[BaseModel], above: tuple[str, ...] = ()) -> dict[str, Description]:
    text = path.read_text()
    comments, stated = _comments(text), OmegaConf.to_container(OmegaConf.create(text))
    found = {}
    for keys, line in _leaves(yaml.compose(text, yaml.SafeLoader), ()):
        default = functools.reduce(lambda node, key: node[key], keys, stated)
        field = _field(record, keys[len(above) :]) if keys[: len(above)] == above else None
        if field is not None:
            name = ".".join(keys[len(above) :])
            found[name] = Description(comments.get(line) or field.description or "", *_typed(field), default)
    return found


def _comments(text: str) -> dict[int, str]:
    """The comments at the ends of lines of YAML, by line from 0."""
    lines, ends = text.splitlines(), dict[int, int]()
    for token in yaml.scan(text, yaml.SafeLoader):
        if token.end_mark.column:
            ends[token.end_mark.line] = max(token.end_mark.column, ends.get(token.end_mark.line, 0))
    rest = {line: lines[line][end:].strip() for line, end in ends.items() if line < len(lines)}
    return {line: comment.removeprefix("#").strip() for line, comment in rest.items() if comment.startswith("#")}


def _leaves(node: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Keys and line, from 0, of each setting."""
    for key, value in node.value:
        keys = (*above, key.value)
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _leaves(value, keys)
        else:
            yield keys, key.start_mark.line


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
        ", ".join(_bounds(field.annotation, field.metadata)),
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
    known = {int: "integer", float: "number", str: "text", bool: "true or false", Any: "any value"}
    return known.get(annotation, "settings")


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

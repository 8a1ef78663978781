"""A JSON schema of YAML files with settings, by which editors complete and check them.

It describes a recipe, as in `conf/experiment/` and `conf/sweep/`, which may leave out any setting. The file of a
choice, such as `conf/model/NAME.yaml`, is described by the property of its group.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from cifar.config import choices, describe
from cifar.config.describe import REQUIRED, Description
from cifar.config.hydra_errors import SEVERAL
from cifar.config.settings import Settings

Schema = dict[str, Any]
INTERPOLATION: Schema = {"type": "string", "pattern": r"^(\$\{.*\}|\?\?\?)$"}
"""What OmegaConf takes in the place of any value: `${data.name}`, and `???` for a value that has to be given."""
OF_BUILDER = ("BuilderSettings", "DataSettings", "ModelSettings", "OptimizerSettings")
"""Records whose fields are those of the builder that they name, also of another data set within one."""


def text() -> str:
    """The schema as the text of a file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def schema() -> Schema:
    """The schema of a file with settings of the root, and of any groups below their names."""
    root = describe.of_root()
    properties = _of_record(Settings)
    for group in choices.groups().values():
        made = {name: _of_choice(group.name, name) for name in choices.names(group.name)}
        if group.name in SEVERAL:
            properties[group.name] = _object({name: _object(one) for name, one in made.items()})
        elif group.name in properties:
            properties[group.name] = _object(
                {"name": {"type": "string"}, "builder": {"type": "string"}, **_united(made)}
            )
        if group.name in properties:
            properties[group.name]["description"] = group.text
    for key, one in root.items():
        _explain(_at(properties, key), one)
    properties |= {"defaults": {"type": "array", "items": _default()}, "hydra": {"type": "object"}}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Settings of cifar",
        **_object(properties),
        "definitions": {"interpolation": INTERPOLATION},
    }


def _of_choice(group: str, name: str) -> dict[str, Schema]:
    """The schemas of the settings of a choice, with their meanings and default values."""
    registry = choices.REGISTRIES.get(group)
    builder = choices.builder(group, name)
    if registry is None or builder not in registry.names():
        return {}
    properties = _of_record(registry.record(builder))
    for key, one in describe.of_choice(group, name).items():
        _explain(_at(properties, key), one)
    return properties


def _united(of_choices: Mapping[str, Mapping[str, Schema]]) -> dict[str, Schema]:
    """The settings of all choices of a group; one that several have accepts what any of them does."""
    kinds: dict[str, list[Schema]] = {}
    for properties in of_choices.values():
        for key, one in properties.items():
            kind = {name: value for name, value in one.items() if name != "default"}
            if kind not in kinds.setdefault(key, []):
                kinds[key].append(kind)
    return {key: found[0] if len(found) == 1 else {"anyOf": found} for key, found in kinds.items()}


def _default() -> Schema:
    """The schema of an entry of `defaults`."""
    properties: dict[str, Schema] = {}
    for group in choices.groups().values():
        names: Schema = {"enum": [*choices.names(group.name), None]}
        chosen = {"anyOf": [names, {"type": "array", "items": names}]} if group.name in SEVERAL else names
        properties[f"override /{group.name}"] = {**chosen, "description": group.text}
    return {"anyOf": [{"type": "string"}, {"type": "object", "properties": properties}]}


def _object(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def _of_record(record: type[BaseModel]) -> dict[str, Schema]:
    """The schemas of the fields of a record, without references."""
    made = record.model_json_schema(ref_template="{model}")
    definitions = made.get("$defs", {})
    return {name: _plain(field, definitions) for name, field in made["properties"].items()}


def _plain(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """A schema of pydantic's without references, titles and required settings, which takes interpolations."""
    if name := node.get("$ref"):
        if name in OF_BUILDER:
            return {"type": "object"}
        node = {key: value for key, value in definitions[name].items() if key != "description"}
    found = {key: value for key, value in node.items() if key not in ("title", "required", "default")}
    if "properties" in found:
        found["properties"] = {key: _plain(one, definitions) for key, one in found["properties"].items()}
    if "items" in found:
        found["items"] = _plain(found["items"], definitions)
    if "anyOf" in found:
        found["anyOf"] = [_plain(one, definitions) for one in found["anyOf"]]
    is_text = found.get("type") == "string" and "enum" not in found
    if is_text or found.get("type") in (None, "object", "null"):
        return found
    text = {key: found.pop(key) for key in ("description",) if key in found}
    return {"anyOf": [found, {"$ref": "#/definitions/interpolation"}], **text}


def _at(properties: Mapping[str, Schema], key: str) -> Schema:
    """The schema of the setting under a dotted key."""
    first, *rest = key.split(".")
    node = properties[first]
    for name in rest:
        node = next(one["properties"] for one in _kinds(node) if "properties" in one)[name]
    return node


def _kinds(node: Schema) -> Iterable[Schema]:
    return (node, *node.get("anyOf", ()))


def _explain(node: Schema, one: Description) -> None:
    node["description"] = one.text
    if one.default != REQUIRED:
        node["default"] = one.default

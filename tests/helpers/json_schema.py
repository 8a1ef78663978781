"""The part of JSON Schema that `cifar.reference.json_schema` uses."""

from __future__ import annotations

import operator
import re
from typing import Any

KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}
BOUNDS = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
}
KNOWN = {"$schema", "$ref", "title", "description", "default", "definitions", "type", "enum", "anyOf", "properties",
         "items", "additionalProperties", "pattern", "minItems", "maxItems", "minLength", *BOUNDS}  # fmt: skip


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "") -> list[str]:
    """The dotted keys of the values that the schema does not accept."""
    assert schema.keys() <= KNOWN, schema.keys() - KNOWN
    if reference := schema.get("$ref"):
        return faults(value, root["definitions"][reference.rpartition("/")[2]], root, where)
    if "anyOf" in schema and all(faults(value, one, root, where) for one in schema["anyOf"]):
        return [where]
    if "enum" in schema and value not in schema["enum"]:
        return [where]
    if "type" in schema:
        is_other = isinstance(value, bool) and schema["type"] != "boolean"
        if is_other or not isinstance(value, KINDS[schema["type"]]):
            return [where]
    if isinstance(value, int | float) and any(
        name in schema and not holds(value, schema[name]) for name, holds in BOUNDS.items()
    ):
        return [where]
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return [where]
    if isinstance(value, list) and len(value) > schema.get("maxItems", len(value)):
        return [where]
    if (
        len(value) < schema.get("minItems" if isinstance(value, list) else "minLength", 0)
        if isinstance(value, list | str)
        else 0
    ):
        return [where]
    found: list[str] = []
    if isinstance(value, dict):
        others = schema.get("additionalProperties", True)
        for key, below in value.items():
            name = f"{where}.{key}".lstrip(".")
            if key in schema.get("properties", {}):
                found += faults(below, schema["properties"][key], root, name)
            elif others is False:
                found.append(name)
            elif isinstance(others, dict):
                found += faults(below, others, root, name)
    if isinstance(value, list) and "items" in schema:
        for number, below in enumerate(value):
            found += faults(below, schema["items"], root, f"{where}.{number}".lstrip("."))
    return found

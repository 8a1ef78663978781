"""A typed signature as the schema of settings: names, types, ranges, one-line errors."""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
)

from cifar.config.renamed import unknown_setting
from cifar.runtime.errors import InputError

Rate = Annotated[float, Field(ge=0, lt=1)]
"""A share of units to drop, or a decay: [0, 1)."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""What every generator of random numbers here takes as a seed."""
Share = Annotated[float, Field(gt=0, lt=1)]
"""A part of a whole, neither nothing nor all of it: (0, 1)."""
UnitInterval = Annotated[float, Field(ge=0, le=1)]
"""[0, 1]."""

Record = TypeVar("Record", bound=BaseModel)

__all__ = [
    "Group",
    "NonNegativeFloat",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "Rate",
    "Seed",
    "Share",
    "Strict",
    "UnitInterval",
    "validate",
]


class Strict(BaseModel):
    """A record of settings that takes no key it does not know, no NaN, no infinity, and no truth value as a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="wrap")
    @classmethod
    def _refuse_truth_values(cls, value: Any, validate: Callable[[Any], Any]) -> Any:
        checked = validate(value)
        if isinstance(value, bool) and not isinstance(checked, bool):
            raise ValueError("be a number, not a truth value")
        return checked


class Group(abc.ABC):
    """Makes the records of settings whose type depends on what they name.

    A field annotated `Annotated[BuilderSettings, group]` holds what `group.parse` makes of a mapping.
    """

    @abc.abstractmethod
    def parse(self, given: Mapping[str, Any], where: str | None = None) -> Any:
        """The record of the settings `given`, which stand under the dotted key `where`; raises `InputError`."""


def validate(record: type[Record], settings: Mapping[str, Any], where: str) -> Record:
    """`settings` as a `record`, numbers given as text converted; `where` is the dotted key they stand under."""
    found = dict(settings)
    for key, field in record.model_fields.items():
        for group in field.metadata:
            if isinstance(group, Group) and isinstance(found.get(key), Mapping):
                found[key] = group.parse(found[key], f"{where}.{key}" if where else key)
    try:
        return record.model_validate(found)
    except ValidationError as error:
        raise InputError(_one_line(error, record, found, where)) from None


def _one_line(error: ValidationError, record: type[BaseModel], given: Mapping[str, Any], where: str) -> str:
    # A misspelt key makes another one missing. Of the errors of a union's members, the one at the
    # greatest depth is shown, and rather one of the value than of its type.
    errors = sorted(error.errors(), key=lambda found: found["type"] == "missing")
    alike = (found for found in errors if found["loc"][:1] == errors[0]["loc"][:1])
    first = max(
        alike, key=lambda found: (found["type"] != "missing", len(found["loc"]), not found["type"].endswith("_type"))
    )
    key = ".".join([*([where] if where else []), *_path(first["loc"], given, first["type"] == "missing")])
    if first["type"] == "extra_forbidden":
        names = _names_at(record, first["loc"][:-1])
        return f"{key}={first['input']}: {unknown_setting(key, names)}"
    if first["type"] == "missing":
        return f"{key}: required setting is missing"
    expected = re.sub(r"^(\w+ should |Value error, )| or instance of \w+$", "", first["msg"])
    return f"{key}={first['input']}: should {expected}"


def _path(location: tuple[str | int, ...], given: Any, is_missing: bool) -> list[str]:
    """The keys of a `location` in the settings `given`, without the names of a union's members; the last may be new."""
    path = []
    for number, part in enumerate(location):
        is_key = part in given if isinstance(given, Mapping) else isinstance(given, list) and isinstance(part, int)
        if is_key:
            given = given[part]
        if is_key or (is_missing and number == len(location) - 1):
            path.append(str(part))
    return path


def _names_at(record: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    annotation: Any = record
    for part in path:
        if isinstance(part, int):
            (annotation,) = get_args(annotation)
        else:
            annotation = _record(annotation).model_fields[part].annotation
    return list(_record(annotation).model_fields)


def _record(annotation: Any) -> Any:
    """The record of an annotation that may be `Record | None`."""
    return next((part for part in get_args(annotation) if hasattr(part, "model_fields")), annotation)

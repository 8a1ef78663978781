"""A typed signature as the schema of settings: names, types, ranges, and the one line that tells a mistake."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    create_model,
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

__all__ = [
    "NonNegativeFloat",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "Rate",
    "Seed",
    "Share",
    "Strict",
    "UnitInterval",
    "settings_of",
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


@functools.cache
def settings_of(builder: Callable) -> type[Strict]:
    """The keyword-only parameters of `builder` as a record: these are its settings.

    What stands before the `*` of the signature comes from the framework at runtime and is no setting.
    """
    fields = {}
    for name, parameter in inspect.signature(builder).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            annotation = parameter.annotation
            if isinstance(annotation, str):
                annotation = eval(annotation, inspect.unwrap(builder).__globals__)
            fields[name] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
    return create_model(builder.__name__, __base__=Strict, **fields)


def validate(record: type[BaseModel], settings: Mapping[str, Any], where: str) -> BaseModel:
    """`settings` as a `record`, numbers given as text converted; `where` is the dotted key they stand under."""
    try:
        return record.model_validate(dict(settings))
    except ValidationError as error:
        raise InputError(_one_line(error, record, where)) from None


def _one_line(error: ValidationError, record: type[BaseModel], where: str) -> str:
    # A misspelt key makes another one missing. Of what the members of a union say of a value, the one that looked
    # furthest into it tells.
    errors = sorted(error.errors(), key=lambda found: found["type"] == "missing")
    alike = (found for found in errors if found["loc"][:1] == errors[0]["loc"][:1])
    first = max(alike, key=lambda found: (found["type"] != "missing", len(found["loc"])))
    path = [str(part) for part in first["loc"] if "[" not in str(part)]  # without the names of a union's members
    key = ".".join([*([where] if where else []), *path])
    if first["type"] == "extra_forbidden":
        names = _names_at(record, first["loc"][:-1])
        return f"{key}={first['input']}: {unknown_setting(key, names)}"
    if first["type"] == "missing":
        return f"{key}: required setting is missing"
    expected = re.sub(r"^(\w+ should |Value error, )| or instance of \w+$", "", first["msg"])
    return f"{key}={first['input']}: should {expected}"


def _names_at(record: type[BaseModel], path: tuple) -> list[str]:
    for part in path:
        (record,) = get_args(record) if isinstance(part, int) else (record.model_fields[part].annotation,)
    return list(record.model_fields)

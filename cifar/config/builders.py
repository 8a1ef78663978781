"""The settings of a builder, typed by its signature."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, PrivateAttr, create_model, model_serializer

from cifar.config.schema import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Rate, Strict, validate

Record = TypeVar("Record", bound="BuilderSettings")


class BuilderSettings(Strict):
    """The checked settings of a builder: a field for each of its keyword-only parameters, and its choice's name.

    `model_dump()` returns the settings as they were given, without the defaults of the signature and before numbers
    are converted: so a new default changes no record, and no hash of one.
    """

    builder: ClassVar[Callable[..., Any]]
    group: ClassVar[str]
    unrecorded: ClassVar[tuple[str, ...]] = ()
    """Settings that belong to the machine: `model_dump()` has them not."""
    _name: str = PrivateAttr()
    _given: dict[str, Any] = PrivateAttr()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The settings, whose names only the builder knows."""

    @classmethod
    def of(cls, given: Mapping[str, Any], name: str, where: str) -> Self:
        """The record of the settings `given` for the choice `name`, which stand under `where`; raises `InputError`."""
        record = validate(cls, {key: value for key, value in given.items() if key not in ("name", "builder")}, where)
        record._name, record._given = name, dict(given)
        return record

    @property
    def name(self) -> str:
        """The name of the choice, which is that of the builder unless a `builder` is given."""
        return self._name

    def build(self, **runtime: Any) -> Any:
        """Call the builder with its settings and what it asks of `runtime`, before the `*` of its signature."""
        asked, own = parameters_of(type(self).builder)
        settings = {name: getattr(self, name) for name in own}
        return type(self).builder(**{name: runtime[name] for name in [*asked, *own] if name in runtime}, **settings)

    def takes(self, name: str) -> bool:
        """True if the builder asks the framework for `name`."""
        return name in parameters_of(type(self).builder)[0]

    def changed(self, **changes: Any) -> Self:
        """The same choice with other settings; raises `InputError`."""
        return self.of({**self._given, **changes}, self._name, self.group)

    def __eq__(self, other: object) -> bool:
        """True for the same choice with the same settings, but for those that are not recorded."""
        return type(self) is type(other) and self._name == other._name and self.model_dump() == other.model_dump()

    @model_serializer
    def _as_given(self) -> dict[str, Any]:
        return copy.deepcopy({name: value for name, value in self._given.items() if name not in self.unrecorded})


def _split_seed(value: Any) -> int | str | None:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if number is None or number == "trial" or (type(number) is int and 0 <= number < 2**31):
        return number
    raise ValueError("be a seed from 0 to 2147483647, trial or null")


Sampling = Literal["shuffle", "balanced"]
"""Which training images an epoch shows: each once, or each class as often as any other."""


class DataSettings(BuilderSettings):
    """Those of any data set say which of its images are for training and validation.

    See `cifar.training.experiment.load`.
    """

    unrecorded: ClassVar[tuple[str, ...]] = ("cache_gb",)

    sampling: Sampling = "shuffle"

    exclude: Annotated[str, Field(min_length=1)] | None = None
    val_seed: Annotated[Any, AfterValidator(_split_seed)] = None
    folds: Annotated[int, Field(ge=2)] | None = None
    fold: NonNegativeInt | None = None
    cache_gb: NonNegativeFloat = 20.0


class OptimizerSettings(BuilderSettings):
    """Those of any optimizer have a learning rate, the peak of its schedule."""

    lr: PositiveFloat


class ClassifierSettings(Strict):
    """How a classifier makes a feature map into probabilities: pooled, hidden layers of `units`, each with dropout.

    What the last layer gets is multiplied by `scale`; `bias` is that of the last layer.
    """

    pooling: Annotated[Literal["flatten", "average", "max"], Field(description="pooling of the deepest feature map")]
    units: Annotated[list[PositiveInt], Field(description="units of each hidden layer")]
    dropout: Annotated[Rate, Field(description="dropout rate after each hidden layer")]
    bias: Annotated[bool, Field(description="the last layer has a bias")] = True
    scale: Annotated[PositiveFloat, Field(description="factor of what the last layer gets")] = 1.0


class ModelSettings(BuilderSettings):
    """Those of any model have the classifier that it is known for, which the task `classification` puts on it."""

    classifier: ClassifierSettings | None = None


def parameters_of(builder: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """The names of what `builder` asks of the framework, before the `*` of its signature, and of its settings."""
    parameters = inspect.signature(builder).parameters.values()
    own = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    return [one.name for one in parameters if one.name not in own], own


def settings_of(builder: Callable[..., Any], base: type[Record], group: str) -> type[Record]:
    """The type of the settings of `builder`: the fields of `base`, and its keyword-only parameters."""
    fields: dict[str, Any] = {}
    for name in parameters_of(builder)[1]:
        parameter = inspect.signature(builder).parameters[name]
        annotation = parameter.annotation
        if isinstance(annotation, str):
            annotation = eval(annotation, inspect.unwrap(builder).__globals__)
        if hasattr(annotation, "literal"):  # a registry: any of the names that it has by now
            annotation = annotation.literal()
        fields[name] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
    record = create_model(builder.__name__, __base__=base, **fields)
    record.builder, record.group = staticmethod(builder), group
    return record

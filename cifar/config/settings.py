"""The root settings, typed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from cifar.config.builders import BuilderSettings, DataSettings, ModelSettings, OptimizerSettings
from cifar.config.extensions import as_recorded
from cifar.config.registry import (
    AUGMENTATIONS,
    AVERAGING,
    CALLBACKS,
    DATASETS,
    MODELS,
    OPTIMIZERS,
    SCHEDULES,
    TASKS,
    Entries,
)
from cifar.config.renamed import oldest
from cifar.config.schema import NonNegativeInt, PositiveFloat, PositiveInt, Seed, Strict, validate
from cifar.runtime.errors import InputError

FillMode = Literal["nearest", "reflect", "wrap", "constant"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16", "auto"]
Backend = Literal["tensorflow", "jax"]
Distribute = Literal["none", "mirrored", "data_parallel"]
Views = Literal["none", "flip", "flip_shift"]
Calibration = Literal["none", "temperature"]

MAY_CHANGE = ("epochs", "state", "tracking", "resume", "dry_run", "profile", "objective", "evaluate")
"""The root settings that a resumed run may have otherwise than it was started with."""
LOCATIONS = ("path", "exclude")
"""The settings of data that are paths of files and folders."""
DRAWS = ("seed", "data.val_seed", "data.fold")
"""The settings that choose nothing but the random draws of a run: runs that differ in them alone are repetitions."""


class TrackingSettings(Strict):
    """Where runs are recorded."""

    uri: str | None
    experiment: Annotated[str, Field(min_length=1)]
    name: str
    parent: str | None
    tags: dict[str, Any] = Field({})
    note: str = ""
    system_metrics: bool = False


class StateSettings(Strict):
    """When a checkpoint is saved in addition to the end of each epoch."""

    minutes: PositiveFloat


class EvaluateSettings(Strict):
    """How the test images are looked at, and if at all: see `Settings.evaluates_test`."""

    tta: Views = "none"
    test: bool | None = None
    calibration: Calibration = "none"


class FinetuneSettings(Strict):
    """A second part of the training, with a learning rate of its own, in which other layers learn."""

    epochs: NonNegativeInt = 0
    lr: PositiveFloat = 1e-4
    unfreeze_from: str | None = None


class Settings(Strict):
    """Everything that decides a run: what `conf/config.yaml` states, group by group."""

    resume: str | None
    dry_run: bool = False
    profile: bool = False
    objective: str | Annotated[list[str], Field(min_length=1)]

    seed: Seed
    epochs: PositiveInt
    minutes: PositiveFloat | None = None
    finetune: FinetuneSettings = FinetuneSettings()
    batch_size: PositiveInt
    accumulate_steps: PositiveInt = 1
    precision: Precision
    deterministic: bool
    # The defaults are what runs had that were recorded before there was a choice.
    backend: Backend = "tensorflow"
    distribute: Distribute = "none"
    fill_mode: FillMode
    state: StateSettings
    evaluate: EvaluateSettings = EvaluateSettings()
    tracking: TrackingSettings
    data: Annotated[DataSettings, DATASETS]
    task: Annotated[BuilderSettings, TASKS]
    model: Annotated[ModelSettings, MODELS]
    augmentation: Annotated[dict[str, BuilderSettings], Entries(AUGMENTATIONS)] = Field({})
    optimizer: Annotated[OptimizerSettings, OPTIMIZERS]
    schedule: Annotated[BuilderSettings, SCHEDULES]
    weight_averaging: Annotated[BuilderSettings, AVERAGING] = Field(
        default_factory=lambda: AVERAGING.parse({"name": "none"})
    )
    callbacks: Annotated[dict[str, BuilderSettings], Entries(CALLBACKS)] = Field({})
    extensions: Annotated[str | dict[str, str] | None, BeforeValidator(as_recorded)] = None

    @property
    def split_seed(self) -> int:
        """The seed that chooses the validation images."""
        chosen = self.data.val_seed
        return chosen if isinstance(chosen, int) else self.seed

    @property
    def total_epochs(self) -> int:
        """Of all parts of the training."""
        return self.epochs + self.finetune.epochs

    @property
    def can_be_extended(self) -> bool:
        """True if a finished run with more epochs is what it would be with these from the start."""
        return not (self.schedule.takes("epochs") or self.finetune.epochs or self.tracking.parent)

    @property
    def evaluates_test(self) -> bool:
        """True if the run is evaluated on the test images; by default, jobs of a sweep are not."""
        return self.tracking.parent is None if self.evaluate.test is None else self.evaluate.test

    @property
    def objectives(self) -> list[str]:
        return [self.objective] if isinstance(self.objective, str) else self.objective


def parse(plain: Mapping[str, Any]) -> Settings:
    """Settings from plain containers: the one place where they are checked; raises `InputError` for the first mistake.

    From here on they are typed: the settings of a group are a record made from the signature of the builder that they
    name.
    """
    _refuse_targets(plain, "")
    return _drawn(validate(Settings, plain, ""))


def flatten(settings: Settings) -> dict[str, Any]:
    """Every leaf of the settings under its dotted key."""

    def leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict) and node:
            for name, child in node.items():
                yield from leaves(child, f"{key}.{name}" if key else name)
        else:
            yield key, node

    return dict(leaves(settings.model_dump(), ""))


def identity(settings: Settings) -> str:
    """SHA-256, in hexadecimal, of the settings that decide a run, with the path of its data as it was given."""
    fixed = {key: value for key, value in oldest(flatten(settings)).items() if key.partition(".")[0] not in MAY_CHANGE}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def may_change(key: str) -> bool:
    """True for a setting, by its dotted key, that a resumed run may have otherwise than it was started with.

    The location of the data and of a list of excluded images may differ: the fingerprint of the data identifies them.
    Files may be added to extensions: those of the run have been compared when its record was read.
    """
    parts = key.split(".")
    return parts[0] in (*MAY_CHANGE, "extensions") or (parts[0] == "data" and parts[-1] in LOCATIONS)


def located(settings: Settings) -> Settings:
    """`settings` with the paths of data made absolute, so that they are found from any folder."""

    def absolute(node: dict[str, Any]) -> dict[str, Any]:
        return {
            key: absolute(value) if isinstance(value, dict)
            else os.path.abspath(os.path.expanduser(value)) if key in LOCATIONS and value
            else value
            for key, value in node.items()
        }  # fmt: skip

    return settings.model_copy(update={"data": settings.data.changed(**absolute(settings.data.model_dump()))})


def _drawn(settings: Settings) -> Settings:
    """`settings` with the number that `data.val_seed=trial` is in a job of a sweep: its name and `seed` decide it."""
    if settings.data.val_seed != "trial" or settings.tracking.parent is None:
        return settings
    digest = hashlib.sha256(f"{settings.seed} {settings.tracking.name}".encode()).digest()
    number = int.from_bytes(digest[:4]) >> 1
    return settings.model_copy(update={"data": settings.data.changed(val_seed=number)})


def _refuse_targets(node: Any, key: str) -> None:
    children = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        path = f"{key}.{name}" if key else str(name)
        if name == "_target_":
            raise InputError(f"{path}={child}: settings name builders by `name`, never code by `_target_`")
        _refuse_targets(child, path)

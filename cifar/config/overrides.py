"""Overrides of the settings that a run has recorded, not of those of `conf/`: by a resume, and of data by commands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from cifar.config.hydra_errors import explain
from cifar.runtime.errors import InputError
from cifar.runtime.paths import CONF

if TYPE_CHECKING:
    from cifar.config.settings import Settings


DATA = re.compile(r"data(@data)?(\.\w+)*=.*", re.DOTALL)
"""An override of the settings of the data, such as `data=digits`, `data.path=DIR` or `data@data.source=digits`."""
NOT_A_RUN = ("auto", "null", "")
"""Values of `resume` that name no run."""


def names_run(resume: Any) -> bool:
    """True for a value of the setting `resume` that is a run id."""
    return resume is not None and str(resume) not in NOT_A_RUN


def composable(arguments: Sequence[str]) -> list[str]:
    """The command line for Hydra: that of a resume may set what the settings composed from `conf/` lack.

    Such settings are checked against the run's record afterwards, by `changed`.
    """
    resume = next((value for key, _, value in (given.partition("=") for given in arguments) if key == "resume"), None)
    if not names_run(resume) or {"-m", "--multirun"} & {*arguments}:
        return list(arguments)
    return [_forced(argument) for argument in arguments]


def changed(stored: Settings, composed: DictConfig, given: Sequence[str]) -> Settings:
    """The `stored` settings of a run with what the overrides `given` on the command line change in them.

    A choice of a group is looked up in the settings `composed` from `conf/`. Raises `InputError` for an override that
    would make it another run.
    """
    from cifar.config.settings import MAY_CHANGE, flatten, may_change

    asked = _applied(stored, composed, given)
    before, now = flatten(stored), flatten(asked)
    differing = [key for key in sorted(before.keys() | now.keys())
                 if not may_change(key) and before.get(key) != now.get(key)]  # fmt: skip
    if differing:
        differences = ", ".join(f"{key}={now.get(key)} (the run has {before.get(key)})" for key in differing)
        raise InputError(
            f"resume={asked.resume}: {differences}; only {', '.join(MAY_CHANGE)} and the location of the data "
            "(data.path) may change"
        )
    # The stored address may lack its password.
    uri = OmegaConf.select(composed, "tracking.uri")
    return asked.model_copy(update={"tracking": asked.tracking.model_copy(update={"uri": uri})})


def data_settings(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides of the settings of the data among the arguments of a command, and its other arguments."""
    given = [argument for argument in arguments if DATA.fullmatch(argument)]
    return given, [argument for argument in arguments if argument not in given]


def with_data(stored: Settings, given: Sequence[str]) -> Settings:
    """The `stored` settings of a run with its data as the overrides `given` say; raises `InputError`."""
    from cifar.config.command_line import readable
    from cifar.config.compose import composed

    if not given:
        return stored
    return _applied(stored, composed([_forced(argument) for argument in given]), readable(given))


def _applied(stored: Settings, composed: DictConfig, given: Sequence[str]) -> Settings:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from cifar.config.settings import Settings, parse

    settings = OmegaConf.create(stored.model_dump())
    OmegaConf.set_struct(settings, True)
    try:
        for override in OverridesParser.create().parse_overrides(list(given)):
            key = override.package or override.key_or_group
            if _is_group(override.key_or_group):
                if key.partition(".")[0] in Settings.model_fields:
                    chosen = OmegaConf.select(composed, key)
                    OmegaConf.update(settings, key, OmegaConf.to_container(chosen, resolve=True), merge=False)
            elif not override.is_delete():
                OmegaConf.update(settings, key, override.value(), merge=True)
            elif OmegaConf.select(settings, key) is not None:
                raise InputError(f"~{key}: the run has it, and a resume cannot drop it")
        plain: Any = OmegaConf.to_container(settings, resolve=True, throw_on_missing=True)
        return parse(plain)
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key}: required setting is missing") from None
    except OmegaConfBaseException as error:
        raise explain(error) from None


def _forced(argument: str) -> str:
    """An override that sets its key whether or not it is there; any other argument as it is."""
    key, separator, value = argument.partition("=")
    if not separator or key.startswith(("-", "~", "hydra.", "hydra/")) or _is_group(key.lstrip("+")):
        return argument
    if key == "resume" and re.fullmatch("[0-9a-f]+", value):
        value = f"'{value}'"  # an id of digits alone is no number
    return f"++{key.lstrip('+')}={value}"


def _is_group(key: str) -> bool:
    return (CONF / key.partition("@")[0]).is_dir()

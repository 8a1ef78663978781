"""One-line messages for the errors that Hydra and OmegaConf raise for a command line or a YAML file."""

from __future__ import annotations

import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError, safe_load

from cifar.config import command_line, options, search_path
from cifar.config.renamed import new_group, unknown_choice, unknown_setting
from cifar.runtime.errors import InputError
from cifar.runtime.paths import CONF

if TYPE_CHECKING:
    from hydra.conf import HydraConf
    from hydra.core.override_parser.types import Override

# Hydra 1.4 announces the end, in 1.5, of what 1.3 needs.
warnings.filterwarnings("ignore", r"(?s).*(removed in Hydra 1\.5|_execution_whitelist_)")

SEVERAL = ("augmentation", "callbacks")
"""Groups of which any number of choices are put together."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns what Hydra and OmegaConf complain of into `InputError`."""
    from hydra.errors import HydraException

    # Hydra prints its complaints in many lines and exits with 1 unless this asks it to raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    program, *arguments = [argument for argument in sys.argv if argument != "--debug"]
    options.check(arguments)
    sys.argv = [program, *command_line.readable(arguments)]
    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise explain(error) from error
    except Exception as error:
        if isinstance(error, InputError) or not _is_of_composition(error):
            raise
        raise explain(error) from error


def explain(error: Exception) -> InputError:
    """Hydra's or OmegaConf's complaint about a command line or a YAML file, in one line."""
    # Under a debugger, an error of OmegaConf has a cause too, which knows less than the error itself.
    is_wrapped = isinstance(error.__cause__, OmegaConfBaseException) and not isinstance(error, OmegaConfBaseException)
    cause = error.__cause__ if is_wrapped else error
    if ambiguous := re.fullmatch(r"Ambiguous value for argument '(.*?)'\n.*", str(error), re.DOTALL):
        return InputError(f"{ambiguous[1]}: several values; write {command_line.forms(ambiguous[1])}")
    if missing := getattr(error, "missing_cfg_file", None):
        group, _, choice = str(missing).rpartition("/")
        choices = search_path.choices(group)
        return InputError(f"{group or '--config-name'}={choice}: {unknown_choice(group, choice, choices)}")
    if given := next(filter(_is_no_choice, sys.argv[1:]), None):
        return InputError(f"{given}: should be one of the choices{', or a list of them' * _takes_several(given)}")
    override, config = _applied(error)
    if override and config is not None and (found := _list_above(override.key_or_group, config)):
        key, values = found
        return InputError(
            f"{override.input_line}: {key} is a list of {len(values)}; write it whole, such as "
            f"{key}={str(values).replace(' ', '')}, or an item of it, such as {key}.0=…"
        )
    # OmegaConf gives an AttributeError of its own these two attributes.
    parent, full_key = getattr(cause, "parent_node", None), getattr(cause, "full_key", None)
    if isinstance(cause, ConfigKeyError | AttributeError) and parent is not None:
        key_given = override.input_line if override else full_key
        names = [str(name) for name in parent if name not in ("hydra", "_target_")]
        return InputError(f"{key_given}: {unknown_setting(str(full_key), names, _keys(config))}")
    overridden = re.search(r"Could not override '(\w+)", str(error))  # in the defaults of a YAML file
    if overridden and (renamed := new_group(overridden[1])):
        return InputError(f"{overridden[1]} is called {renamed} now")
    text = str(error)
    text = text[max(0, text.find("Error parsing override")) :]  # Hydra 1.4 puts the whole command line before it
    return InputError(" ".join(line.strip() for line in text.splitlines() if line.strip()))


def refuse_mixtures(hydra: HydraConf | DictConfig) -> None:
    """Raises `InputError` where Hydra has mixed several choices of a group that is meant to have one.

    `hydra` is its own node of the composed settings; a group composed from a list is not among its `choices`.
    """
    task: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    given = [argument for argument in task if _group(argument)]
    mixed = [argument for argument in given if re.match(r"[^=]*=\s*\[", argument) and not _takes_several(argument)]
    dropped = {_group(argument) for argument in given if argument.startswith("~")}
    own = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra", *SEVERAL} - dropped
    if wrong := [*mixed, *sorted(own - hydra.runtime.choices.keys())]:
        raise InputError(
            f"{wrong[0]}: should be one of the choices, not a list; --multirun runs each of several, "
            "separated by commas"
        )


def _group(argument: str) -> str | None:
    """The group that `argument` chooses from, if it does."""
    group = re.split("[=@]", argument.lstrip("+~"), maxsplit=1)[0].strip("/")
    return group if group and (CONF / group).is_dir() else None


def _takes_several(argument: str) -> bool:
    return _group(argument) in SEVERAL


def _is_no_choice(argument: str) -> bool:
    if not _group(argument) or "=" not in argument:
        return False
    value = safe_load(argument.partition("=")[2])
    return not isinstance(value, str | list | dict) or any(not isinstance(one, str) for one in value)


def _applied(error: Exception) -> tuple[Override | None, DictConfig | None]:
    """The override that Hydra was applying when `error` was raised, and the settings to which."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "_apply_overrides_to_config":
            return frame.f_locals["override"], frame.f_locals["cfg"]
    return None, None


def _keys(config: DictConfig | None) -> list[str]:
    """The dotted keys of all settings; of Hydra's own, those of launcher and sweeper."""
    own = ("hydra.launcher.", "hydra.sweeper.")

    def keys(node: Any, above: str) -> Iterator[str]:
        if isinstance(node, dict):
            for name, child in node.items():
                yield f"{above}{name}"
                yield from keys(child, f"{above}{name}.")

    found = keys({} if config is None else OmegaConf.to_container(config, resolve=False), "")
    return [key for key in found if not key.startswith("hydra") or key.startswith(own)]


def _list_above(key: str, config: DictConfig) -> tuple[str, list[Any]] | None:
    """The first part of a dotted `key` that names a list although more parts follow."""
    parts = key.split(".")
    for end in range(1, len(parts)):
        above = ".".join(parts[:end])
        if isinstance(node := OmegaConf.select(config, above), ListConfig):
            values: Any = OmegaConf.to_container(node)
            return above, values
    return None


def _is_of_composition(error: Exception) -> bool:
    """True where Hydra or OmegaConf itself, and nothing that they have called, raised `error`."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals["__name__"].partition(".")[0] in ("hydra", "omegaconf")

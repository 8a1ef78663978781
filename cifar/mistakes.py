"""The mistakes that Hydra and OmegaConf find in a command line or a YAML file, each told in one line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError, safe_load

from cifar.environment import ROOT
from cifar.errors import InputError, known


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turns what Hydra and OmegaConf complain of into `InputError`."""
    from hydra.errors import HydraException

    # Hydra prints its complaints in many lines and exits with 1 unless this asks it to raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise explain(error) from error
    except ValueError as error:
        if isinstance(error, InputError) or not str(error).startswith("Config group override must be"):
            raise
        given = next(argument for argument in sys.argv[1:] if _is_no_choice(argument))
        raise InputError(f"{given}: should be one of the choices, or a list of them") from error


def explain(error: Exception) -> InputError:
    """Hydra's or OmegaConf's complaint about a command line or a YAML file, in one line."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    override = re.search(r"To append to your config use \+(.*)", str(error))
    if missing := getattr(error, "missing_cfg_file", None):
        group, _, choice = str(missing).rpartition("/")
        choices = [path.stem for path in (ROOT / "conf" / group).glob("*.yaml")]
        return InputError(f"{group or '--config-name'}={choice}: unknown choice; {known(choice, choices)}")
    if isinstance(cause, ConfigKeyError | AttributeError) and getattr(cause, "parent_node", None) is not None:
        key = override.group(1) if override else cause.full_key
        names = [str(name) for name in cause.parent_node if name not in ("hydra", "_target_")]
        return InputError(f"{key}: unknown setting; {known(str(cause.key), names)}")
    return InputError(" ".join(line.strip() for line in str(error).splitlines() if line.strip()))


def _is_no_choice(argument: str) -> bool:
    group, _, value = argument.partition("=")
    return (ROOT / "conf" / group.lstrip("+~")).is_dir() and not isinstance(safe_load(value), str | list)

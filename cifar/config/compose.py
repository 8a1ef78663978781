"""From a composed configuration to typed settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from cifar.config import extensions
from cifar.config.command_line import readable
from cifar.config.hydra_errors import explain
from cifar.config.renamed import translated
from cifar.config.settings import Settings, parse
from cifar.runtime.errors import InputError
from cifar.runtime.paths import CONF


def composed(arguments: Sequence[str]) -> DictConfig:
    """What Hydra composes from `conf/` with the overrides `arguments`; raises `InputError`."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", readable(arguments))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise explain(error) from None


def resolve(config: DictConfig) -> Settings:
    """The composed `config` in plain containers, references resolved, root settings checked.

    Raises `InputError`, also where any key is called `_target_`: settings choose builders by name alone.
    """
    try:
        plain: Any = OmegaConf.to_container(
            OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]),
            resolve=True,
            throw_on_missing=True,
        )
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key}: required setting is missing") from None
    except OmegaConfBaseException as error:
        raise explain(error) from None
    return parse(plain)


def read(text: str) -> Settings:
    """Settings from the text of a recorded run's `config.yaml`, which may have old names.

    Raises `InputError` where the run was made with extensions that this process has not loaded.
    """
    plain: Any = OmegaConf.to_container(OmegaConf.create(text))
    extensions.require(plain.get("extensions"))
    return resolve(OmegaConf.create(translated(plain)))

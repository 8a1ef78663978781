"""Libraries that only some settings and commands need: the extras of the package, named in `pyproject.toml`."""

from __future__ import annotations

from importlib.util import find_spec

from cifar.runtime.errors import InputError
from cifar.runtime.paths import IS_INSTALLED


def require(extra: str, what: str, *modules: str) -> None:
    """Raise `InputError` where `modules`, which `what` needs, are not all installed; it says how to install `extra`."""
    if missing := [module for module in modules if find_spec(module) is None]:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError(
            f"{what}: {', '.join(missing)} {verb} not installed; `{install(extra)}` installs what it needs"
        )


def install(extra: str) -> str:
    """The command that installs `extra`; of a checkout, from its folder."""
    return f'pip install "cifar[{extra}]"' if IS_INSTALLED else f'pip install --editable ".[{extra}]"'

"""Settings given as Python values, written as on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cifar.config.command_line import PLAIN, SETTING, quoted
from cifar.runtime.errors import InputError


def written(settings: Sequence[str], named: Mapping[str, Any]) -> list[str]:
    """The overrides `settings`, which stand as they are, then those `named`; raises `InputError`.

    A text that is named is read as on the command line, so that `"1e-3"` is a number; texts in lists are texts.
    """
    for setting in settings:
        if not isinstance(setting, str) or not (setting.startswith("~") or SETTING.fullmatch(setting)):
            raise InputError(f'{setting}: should be a setting such as "model=cnn3"')
    found = [*settings, *(f"{key}={_value(value, key)}" for key, value in named.items())]
    for setting in found:
        if setting.startswith("sweep="):
            raise InputError(f"{setting}: is a sweep; `python run.py {setting}` starts it, cifar.runs() finds its runs")
    return found


def _value(value: Any, key: str) -> str:
    return value if isinstance(value, str) else _literal(value, key)


def _literal(value: Any, key: str) -> str:
    """A value in the grammar of Hydra's overrides."""
    if hasattr(value, "tolist"):  # of NumPy
        value = value.tolist()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_literal(name, key)}: {_literal(one, key)}' for name, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(_literal(one, key) for one in value)}]"
    text = str(value) if hasattr(value, "__fspath__") else value
    if not isinstance(text, str):
        raise InputError(f"{key}={value!r}: should be a number, a text, a path, true or false, or a list of these")
    return text if text and PLAIN.fullmatch(text) else quoted(text)

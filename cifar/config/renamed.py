"""Old names of settings and what they are called now: the one table.

The settings of a recorded run are read by their new names. On a command line and in a YAML file, an old name is an
error whose message has the new one. The hash by which runs with equal settings are found is of the oldest names, so
that it stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from cifar.runtime.errors import did_you_mean


class Setting(NamedTuple):
    """A setting, or a whole group, by its dotted keys; with `builder`, only among the settings of that builder.

    A row stands below those that rename its group or the name of its builder, and has their new names.
    """

    old: str
    new: str
    builder: str | None = None


SETTINGS = (
    Setting("model.head", "model.classifier"),
)  # fmt: skip

Path = tuple[str, ...]


def unknown_setting(key: str, known: Iterable[str]) -> str:
    """The message for the unknown setting `key`, dotted, beside which the settings `known` stand."""
    known = [*known]
    for setting in SETTINGS:
        if setting.old == key and setting.new.rpartition(".")[2] in known:
            return f"{key} is called {setting.new} now"
    return f"unknown setting; {did_you_mean(key.rpartition('.')[2], known)}"


def translated(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded `settings`, plain and nested, by their new names, in their order."""
    found: dict[str, Any] = {}
    for (*above, last), value in _by_new_names(dict(_leaves(settings, ()))).items():
        node = found
        for part in above:
            node = node.setdefault(part, {})
        node[last] = value
    return found


def of_params(params: Mapping[str, str]) -> dict[str, str]:
    """Recorded parameters, under dotted keys, by their new names."""
    return _dotted(_by_new_names(_split(params)))


def oldest(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under dotted keys by the oldest of their names."""
    found = _split(settings)
    for setting in reversed(SETTINGS):
        found = _renamed(found, setting.new, setting.old, setting.builder)
    return _dotted(found)


def _by_new_names(settings: dict[Path, Any]) -> dict[Path, Any]:
    for setting in SETTINGS:
        settings = _renamed(settings, setting.old, setting.new, setting.builder)
    return settings


def _renamed(settings: dict[Path, Any], old: str, new: str, builder: str | None) -> dict[Path, Any]:
    before, after = tuple(old.split(".")), tuple(new.split("."))
    own = settings.get((*before[:-1], "builder")) or settings.get((*before[:-1], "name"))
    if builder not in (None, own):
        return settings
    count = len(before)
    return {after + path[count:] if path[:count] == before else path: value for path, value in settings.items()}


def _split(settings: Mapping[str, Any]) -> dict[Path, Any]:
    return {tuple(key.split(".")): value for key, value in settings.items()}


def _dotted(settings: Mapping[Path, Any]) -> dict[str, Any]:
    return {".".join(path): value for path, value in settings.items()}


def _leaves(node: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for name, child in node.items():
        if isinstance(child, Mapping) and child:
            yield from _leaves(child, (*path, name))
        else:
            yield (*path, name), child

"""The settings that a YAML file of `conf/` states, with the comments on their lines."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import OmegaConf

Keys = tuple[str, ...]


class Stated(NamedTuple):
    """A value and the comment at the end of its line."""

    value: Any
    comment: str


def headline(path: Path) -> str:
    """The first line of the comments at the top of a file that is no command; empty if there is none."""
    for line in path.read_text().splitlines():
        text = line.removeprefix("#").strip()
        if line.startswith("#") and not text.startswith(("@package", "python ")):
            return text
        if not line.startswith("#"):
            break
    return ""


def stated(path: Path) -> dict[Keys, Stated]:
    """Each setting of a file, by its keys, also of the files beside it that its `defaults` begin with."""
    text = path.read_text()
    comments, values = _comments(text), OmegaConf.to_container(OmegaConf.create(text))
    found: dict[Keys, Stated] = {}
    for base in _bases(values):
        found |= stated(path.with_name(f"{base}.yaml"))
    for keys, line in _leaves(yaml.compose(text, yaml.SafeLoader), ()):
        if keys[0] != "defaults":
            earlier = found[keys].comment if keys in found else ""
            found[keys] = Stated(
                functools.reduce(lambda node, key: node[key], keys, values), comments.get(line, earlier)
            )
    return found


def difference(path: Path) -> tuple[list[str], dict[str, Any]]:
    """The files beside it that a file's `defaults` name, and what it states beyond them."""
    values: Any = OmegaConf.to_container(OmegaConf.create(path.read_text()))
    return _bases(values), {key: value for key, value in values.items() if key != "defaults"}


def defaults(path: Path) -> dict[str, Stated]:
    """The choice that a file's `defaults` make in each group, with the comment on its line."""
    text = path.read_text()
    comments, found = _comments(text), {}
    top: Any = yaml.compose(text, yaml.SafeLoader)
    listed = next((value for key, value in top.value if key.value == "defaults"), None)
    for entry in listed.value if listed else ():
        if isinstance(entry, yaml.MappingNode):
            ((group, choice),) = entry.value
            name = group.value.removeprefix("override ").lstrip("/")
            value = [one.value for one in choice.value] if isinstance(choice, yaml.SequenceNode) else choice.value
            found[name] = Stated(value, comments.get(group.start_mark.line, ""))
    return found


def _bases(values: Any) -> list[str]:
    return [one for one in values.get("defaults", ()) if isinstance(one, str) and one != "_self_"]


def _comments(text: str) -> dict[int, str]:
    """The comments at the ends of lines of YAML, by line from 0."""
    lines, ends = text.splitlines(), dict[int, int]()
    for token in yaml.scan(text, yaml.SafeLoader):
        if token.end_mark.column:
            ends[token.end_mark.line] = max(token.end_mark.column, ends.get(token.end_mark.line, 0))
    rest = {line: lines[line][end:].strip() for line, end in ends.items() if line < len(lines)}
    return {line: comment.removeprefix("#").strip() for line, comment in rest.items() if comment.startswith("#")}


def _leaves(node: Any, above: Keys) -> Iterator[tuple[Keys, int]]:
    """Keys and line, from 0, of each setting."""
    for key, value in node.value:
        keys = (*above, key.value)
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _leaves(value, keys)
        else:
            yield keys, key.start_mark.line

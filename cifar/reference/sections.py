"""The settings as sections: those of the root, then those of each choice of each group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cifar.config import choices, describe, yaml_comments
from cifar.config.describe import Description


@dataclass(frozen=True)
class Section:
    """A choice of a group with its settings by dotted key, as they are typed; or the settings of the root."""

    group: str
    """Empty for the root."""
    choice: str
    text: str
    settings: Mapping[str, Description]

    @property
    def title(self) -> str:
        return f"{self.group}={self.choice}" if self.group else "settings of every run"


def root() -> Section:
    """The settings that belong to no choice."""
    return Section("", "", "", describe.of_root())


def of_choice(group: choices.Group, name: str) -> Section:
    """A choice; of one that states the difference to another choice, only the settings that differ."""
    settings = describe.of_choice(group.name, name)
    for base in yaml_comments.difference(choices.path(group.name, name))[0]:
        same = describe.of_choice(group.name, base)
        settings = {key: one for key, one in settings.items() if same.get(key) != one}
    typed = {describe.key(group, name, key): one for key, one in settings.items()}
    return Section(group.name, name, choices.text(group.name, name), typed)


def all_sections() -> Iterator[Section]:
    """Those of the root first."""
    yield root()
    for group in choices.groups().values():
        for name in choices.names(group.name):
            yield of_choice(group, name)


def matching(word: str) -> Iterator[Section]:
    """The sections that have `word` in their title or text, whole, and of the others the settings that have it."""
    word = word.casefold()
    for section in all_sections():
        found = {
            key: one
            for key, one in section.settings.items()
            if any(word in text.casefold() for text in (key, one.text, *one.choices))
        }
        if section.group and word in f"{section.title} {section.text}".casefold():
            yield section
        elif found:
            yield replace(section, settings=found)


def as_plain(section: Section) -> dict[str, Any]:
    """What JSON can hold of a section."""
    settings = [
        {"setting": key, "text": one.text, "type": one.type, "bounds": one.bounds, "choices": [*one.choices],
         "default": one.default}
        for key, one in section.settings.items()
    ]  # fmt: skip
    return {"group": section.group, "choice": section.choice, "text": section.text, "settings": settings}

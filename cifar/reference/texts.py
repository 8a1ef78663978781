"""Sections of settings as texts for the terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from cifar.config import choices
from cifar.config.describe import REQUIRED, Description
from cifar.reference.sections import Section
from cifar.runtime import terminal

LEFT = 30
"""Columns, at most, of what is typed; its meaning is to the right of it."""
WIDEST = 100
"""Columns beyond which a line of text is not read easily."""
REFERENCE = re.compile(r" \([^()]*\b(19|20)\d\d\b[^()]*\)")
"""A paper, which has no place in a list of choices."""


def columns() -> int:
    return min(terminal.width(), WIDEST)


def section(one: Section) -> str:
    """The title of a section, its text, and each setting with its default value and its meaning."""
    head = f"{one.title}: {one.text}" if one.text else one.title
    rows = [(_typed(key, found), _meaning(found)) for key, found in one.settings.items()]
    return "\n".join([*textwrap.wrap(head, columns()), *_rows(rows)])


def group(one: choices.Group) -> str:
    """The choices of a group, the default ones marked."""
    head = f"{one.name}: {one.text}"
    rows = [
        (f"{name} *" if name in one.defaults else name, REFERENCE.sub("", choices.text(one.name, name)))
        for name in choices.names(one.name)
    ]
    return "\n".join([*textwrap.wrap(head, columns()), *_rows(rows)])


def _typed(key: str, found: Description) -> str:
    return f"{key}={'…' if found.default == REQUIRED else found.default_text}"


def _meaning(found: Description) -> str:
    """The text, and what is accepted unless the text names it."""
    named = found.choices and all(re.search(rf"\b{re.escape(name)}\b", found.text) for name in found.choices)
    accepted = found.accepted.removesuffix(" or null") if "null: " in found.text else found.accepted
    notes = [*(["required"] if found.default == REQUIRED else []), *([] if named else [accepted])]
    return f"{found.text} ({'; '.join(notes)})".strip() if any(notes) else found.text


def _rows(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Two columns, the right one wrapped; what is too long for the left one has a line of its own."""
    width = min(LEFT, max((len(left) for left, _ in rows), default=0))
    lines = []
    for left, right in rows:
        text = textwrap.wrap(right, columns() - width - 4, break_long_words=False, break_on_hyphens=False)
        begin = f"  {left:{width}}  {text.pop(0)}" if text and len(left) <= width else f"  {left}"
        lines += [begin, *(f"{'':{width + 4}}{line}" for line in text)]
    return lines

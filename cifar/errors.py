"""Mistakes of the user, each told in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A setting, file or argument that cannot be used; the message is one line and the exit code 2."""


def known(name: object, names: Iterable[str]) -> str:
    """The end of a message about an unknown `name`: the closest of `names`, then all of them."""
    names = sorted(names)
    closest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {closest[0]!r}? " if closest else ""
    return f"{hint}known: {', '.join(names) or 'none'}"

"""The settings typed on a command line, made ready for Hydra: texts that its grammar cannot read are quoted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from cifar.runtime.errors import InputError, did_you_mean

PLAIN = re.compile(r"[\w./:+-]*", re.ASCII)
"""Values that Hydra reads as they are."""
SETTING = re.compile(r"(?P<key>[+~]{0,2}[\w$][\w$./@:-]*)=(?P<value>.*)", re.DOTALL)
STRUCTURE = re.compile(r"\s*([\[\"']|\{(?!\w+\})|\w+\()|.*,", re.DOTALL)
"""Values that may be meant as a list, a mapping, a function, a quoted text or several values, and not as one text.
`{word}` is part of a text: no mapping looks so."""
DELIMITERS = re.compile(r"(\s*[\[\]{},]\s*|\s*:\s+)")


def readable(arguments: Sequence[str]) -> list[str]:
    """The arguments with each value quoted that can be nothing but a text, such as `data.path=~/my photos (1)`.

    Settings come after Hydra's options, which it does not find between them. Raises `InputError` for a setting that
    Hydra cannot read and that may be something else; it shows how to write it.
    """
    settings = [argument for argument in arguments if argument.startswith("~") or SETTING.fullmatch(argument)]
    options = [argument for argument in arguments if argument not in settings]
    return [*options, *map(_readable, settings)]


def forms(argument: str) -> str:
    """How an ambiguous `key=value` can be written, each with what to type in a shell."""
    key, _, value = argument.partition("=")
    parts = "".join(_part(part) for part in DELIMITERS.split(value))
    kind = {"[": "list", "{": "mapping"}.get(value.strip()[:1])
    ways = {"a text": _as_text(key, value)}
    if kind:
        ways = {f"a {kind}": f"{key}={parts}", **ways}
    elif "," in value:
        ways = {"a run of each": f"{key}={parts}", "a list": f"{key}=[{parts}]", **ways}
    written = [f"{shlex.quote(way)} for {meant}" for meant, way in ways.items() if _reads(way)]
    return ", ".join(written).replace(" for a run of each", " with --multirun for a run of each")


def quoted(text: str) -> str:
    """`text` as Hydra's grammar writes a text that may hold anything."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.double).with_quotes()


def parts(override: str) -> tuple[str, str]:
    """Key and value of an override that Hydra reads; the value of a text without its quotes and escapes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    key, _, value = override.partition("=")
    found = value if PLAIN.fullmatch(value) else OverridesParser.create().parse_override(override).value()
    return key, found if isinstance(found, str) else value


def _readable(argument: str) -> str:
    found = SETTING.fullmatch(argument)
    if not found or PLAIN.fullmatch(found["value"]) or _reads(argument):
        return argument
    if not STRUCTURE.match(found["value"]):
        return _as_text(**found.groupdict())
    text = shlex.quote(_as_text(**found.groupdict()))
    if called := re.match(r"(\w+)\(", found["value"]):
        functions = _functions()
        if called[1] in functions:
            return argument  # Hydra says which of its arguments it does not take
        raise InputError(f"{argument}: unknown function; {did_you_mean(called[1], functions)}; write {text} for a text")
    if any(found["value"].count(left) != found["value"].count(right) for left, right in ("[]", "{}", "()")):
        raise InputError(f"{argument}: a bracket is not closed; write {text} for a text")
    raise InputError(f"{argument}: cannot be read; write {forms(argument)}")


def _functions() -> list[str]:
    """The names of the functions of Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import create_functions

    return sorted(create_functions().definitions)


def _as_text(key: str, value: str) -> str:
    return f"{key}={quoted(value)}"


def _part(part: str) -> str:
    """A part of a list or mapping, quoted where it must be."""
    return part if DELIMITERS.fullmatch(part) or not part or _reads(f"key={part}") else quoted(part)


def _reads(argument: str) -> bool:
    """True if Hydra's grammar accepts `argument`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True

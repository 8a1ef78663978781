"""A parser of arguments, and of numbers among them, that answers a mistake in one line instead of with a usage."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from cifar.runtime.errors import InputError, did_you_mean

CHOICE = re.compile(r"argument (?P<name>.+?): invalid choice: '?(?P<value>.*?)'? \(choose from (?P<known>.*)\)")
"""argparse's message about a value that is none of the choices, which only some versions of Python quote."""
OF_VALUE = re.compile(r"argument ([^:]+): (?=[^:]+: should )")
"""The beginning of a message that says what a value should be."""


class OneLineParser(argparse.ArgumentParser):
    """Raises `InputError` for a mistake, and accepts no abbreviations of options."""

    def __init__(self, **options: Any):
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        if found := CHOICE.fullmatch(message):
            known = re.findall(r"[^\s,']+", found["known"])
            raise InputError(f"{found['name']} {found['value']}: {did_you_mean(found['value'], known)}")
        raise InputError(OF_VALUE.sub(r"\1 ", message).removeprefix("argument "))


def number(kind: type[int] | type[float], minimum: float, maximum: float = math.inf) -> Callable[[str], Any]:
    """A parser of a number from `minimum` to `maximum`, for `type=` of argparse."""
    bounds = f"of at least {minimum}" if maximum == math.inf else f"from {minimum} to {maximum}"
    accepted = f"should be {'an integer' if kind is int else 'a number'} {bounds}"

    def parse(given: str) -> float:
        try:
            value = kind(given)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{given}: {accepted}")
        return value

    return parse


integer_from_1 = number(int, 1)
port = number(int, 0, 65535)

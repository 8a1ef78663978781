"""A parser of the arguments of commands on recorded runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn

from cifar.config.arguments import OneLineParser
from cifar.config.overrides import data_settings
from cifar.runtime.errors import InputError, did_you_mean
from cifar.runtime.paths import COMMAND


class CommandParser(OneLineParser):
    """The parser of a command, or of the name of the command.

    With `takes_data`, accepts overrides such as `data=digits data.path=DIR` among the arguments, as `.data`.
    """

    takes_data = False

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        if args and args[0].startswith("-") and args[0].partition("=")[0] not in self._options():
            self._refuse(args[0])  # else argparse takes its value for the command
        given, others = data_settings(args or []) if self.takes_data else ([], args)
        namespace, unknown = super().parse_known_args(others, namespace)
        if self.takes_data:
            namespace.data = given
        if unknown:
            self._refuse(unknown[0])
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        try:
            super().error(message)
        except InputError as error:
            line = re.sub(r"^(one of the|the following) ", r": \1 ", str(error).removeprefix("COMMAND "))
            hint = "" if "known: " in line else f"; see `{self.prog} --help`"
            raise InputError(f"{self._named(line)}{hint}") from None

    def _refuse(self, argument: str) -> NoReturn:
        if not argument.startswith("-"):
            raise InputError(f"{self._named(argument)}: one argument too many; see `{self.prog} --help`")
        option = argument.partition("=")[0]
        known = [name for name in self._options() if name.startswith("--")]
        raise InputError(f"{self._named(option)}: unknown option; {did_you_mean(option, known)}")

    def _options(self) -> list[str]:
        """The names of all options, as the help lists them."""
        lines = [line.split("  ")[1] for line in self.format_help().splitlines() if line.startswith("  -")]
        return re.findall(r"(?<!\S)--?[\w-]+", " ".join(lines))

    def _named(self, argument: str) -> str:
        """`argument` after the command that it was given to."""
        return f"{self.prog.removeprefix(COMMAND)} {argument}".replace(" : ", ": ", 1).strip(" :")

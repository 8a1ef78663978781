"""A parser of the arguments of commands on recorded runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from cifar.config.overrides import data_settings


class CommandParser(argparse.ArgumentParser):
    """With `takes_data`, accepts overrides such as `data=digits data.path=DIR` among the arguments, as `.data`."""

    takes_data = False

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        if not self.takes_data or args is None:
            return super().parse_known_args(args, namespace)
        given, others = data_settings(args)
        namespace, unknown = super().parse_known_args(others, namespace)
        namespace.data = given
        return namespace, unknown

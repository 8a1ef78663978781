"""The command `python -m cifar reproduce`: arguments and their checks, before anything is loaded."""

from __future__ import annotations

import argparse

from cifar.config.arguments import number
from cifar.config.overrides import data_settings
from cifar.runtime.errors import InputError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `reproduce`."""
    add = command.add_argument
    add("run_id", metavar="RUN", help="a finished run")
    add("settings", metavar="data.path=DIR", nargs="*", help="where its data are now")
    add(
        "--tolerance",
        type=number(float, 0, 1),
        metavar="X",
        help="accepted difference of a score where equal bits are not promised (default: 3 standard errors)",
    )


def reproduce(arguments: argparse.Namespace) -> None:
    """Train a run again and compare; raises `InputError` if that cannot be tried, `TrainingError` if it differs."""
    given, others = data_settings(arguments.settings)
    if others:
        raise InputError(f"reproduce {' '.join(others)}: one run at a time, and settings of its data")
    from cifar.reproduction import runs

    runs.reproduce(arguments.tracking_uri, arguments.run_id, given, arguments.tolerance)

"""The command `python -m cifar evaluate`: arguments and their checks, before anything is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import get_args

from cifar.config.overrides import data_settings
from cifar.config.settings import Views
from cifar.runtime.errors import InputError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    add = command.add_argument
    add("runs", metavar="RUN", nargs="+", help="runs, and settings of data such as data=NAME data.path=DIR: their test "
        "images instead of the run's own; data.path alone: where the run's data are now")  # fmt: skip
    add("--tta", choices=get_args(Views), help="views of an image; those of the run by default")
    add("--map", metavar="OTHER=OWN", action="append", default=[],
        help="a class of the other data and its name in the run; without OWN: leave its images out; *: all other "
        "classes; repeatable")  # fmt: skip
    add("--twins", action="store_true", help="also without the test images that have a near duplicate in training")
    add("--as", dest="prefix", metavar="NAME", help="record other data under this name (default: that of the data)")


def evaluate(arguments: argparse.Namespace) -> None:
    """Evaluate each run; raises `InputError`."""
    given, run_ids = data_settings(arguments.runs)
    if not run_ids:
        raise InputError("evaluate: a RUN is needed")
    names = mapping(arguments.map)
    if (names or arguments.prefix) and not given:
        option = "--map" if names else "--as"
        raise InputError(f"evaluate {option}: is for other data; name them, such as data=cifar10_1 data.path=DIR")
    if given and arguments.twins:
        raise InputError("evaluate --twins: is for the run's own test images, not for other data")
    from cifar.evaluation import runs
    from cifar.evaluation.subject import Request

    runs.evaluate(
        arguments.tracking_uri, run_ids, Request(given, names, arguments.prefix, arguments.tta, arguments.twins)
    )


def mapping(given: Sequence[str]) -> dict[str, str]:
    """Parse the values `OTHER=OWN` of `--map`; raises `InputError`."""
    names: dict[str, str] = {}
    for value in given:
        other, equals, own = value.partition("=")
        if not (other and equals):
            raise InputError(f"--map {value}: should be OTHER=OWN, a class of the other data and one of the run")
        if other in names:
            raise InputError(f"--map {value}: {other} is given twice")
        names[other] = own
    return names

"""The command `python -m cifar evaluate`: arguments and their checks, before anything is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import get_args

from cifar.config.command_parser import CommandParser
from cifar.config.settings import Views
from cifar.runtime.errors import InputError

TABLES = ("twins", "corruptions", "ensemble")
"""Options whose results are tables."""


def add_arguments(command: CommandParser) -> None:
    """Add the arguments of `evaluate`."""
    command.takes_data = True
    add = command.add_argument
    command.description = (
        "Evaluate finished runs again. Settings such as data=cifar10_1 data.path=DIR choose other test images than the "
        "run's own; data.path=DIR alone says where its own are now."
    )
    add("runs", metavar="RUN", nargs="+", help="a finished run")
    add("--tta", choices=get_args(Views), help="views of an image; those of the run by default")
    add("--map", metavar="OTHER=OWN", action="append", default=[],
        help="a class of the other data and its name in the run; without OWN: leave its images out; *: all other "
        "classes; repeatable")  # fmt: skip
    add("--twins", action="store_true", help="also without the test images that have a near duplicate in training")
    add("--corruptions", action="store_true", help="the images under 15 common corruptions at 5 severities each")
    add("--ensemble", action="store_true", help="the mean of the runs' probabilities instead of each run")
    add("--json", action="store_true", help="print the metrics as JSON")
    add("--as", dest="prefix", metavar="NAME", help="record other data under this name (default: that of the data)")


def evaluate(arguments: argparse.Namespace) -> None:
    """Evaluate each run; raises `InputError`."""
    given, run_ids = arguments.data, arguments.runs
    names = mapping(arguments.map)
    if names and not given:
        raise InputError("evaluate --map: is for other data; name them, such as data=cifar10_1 data.path=DIR")
    if arguments.twins and (given or arguments.corruptions or arguments.ensemble):
        raise InputError("evaluate --twins: is for a run's own test images as they are, not for other data")
    if arguments.json and (other := next((name for name in TABLES if getattr(arguments, name)), None)):
        raise InputError(f"evaluate --json: cannot go with --{other}")
    if arguments.ensemble and len(run_ids) < 2:
        raise InputError("evaluate --ensemble: two runs or more are needed")
    if arguments.ensemble and (arguments.corruptions or arguments.prefix):
        option = "--corruptions" if arguments.corruptions else "--as"
        raise InputError(f"evaluate --ensemble {option}: an ensemble is no run, so that nothing is recorded with it")
    from cifar.evaluation import ensemble, runs
    from cifar.evaluation.subject import Request

    request = Request(given, names, arguments.prefix, arguments.tta, arguments.corruptions, arguments.twins)
    if arguments.ensemble:
        ensemble.evaluate(arguments.tracking_uri, run_ids, request)
    else:
        runs.evaluate(arguments.tracking_uri, run_ids, request, arguments.json)


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

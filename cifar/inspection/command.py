"""The command `python -m cifar data`: arguments and their checks, before anything is loaded."""

from __future__ import annotations

import argparse
from pathlib import Path

from cifar.config.overrides import data_settings
from cifar.files import ownership
from cifar.runtime import terminal
from cifar.runtime.errors import InputError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `data`."""
    add = command.add_argument
    add("settings", metavar="data=NAME", nargs="+", help="settings of the data, such as data=folder data.path=DIR")
    add("--seed", type=int, default=0, help="seed of the validation split (default: 0)")
    add("--sheet", type=Path, default=Path("data_examples.png"), help="the picture of examples (default: %(default)s)")


def describe(arguments: argparse.Namespace) -> None:
    """Print what was found in the data, and draw examples with their targets; raises `InputError`."""
    given, others = data_settings(arguments.settings)
    if others:
        raise InputError(f"data {others[0]}: should be a setting of the data, such as data.path=DIR")
    label = f"--sheet {arguments.sheet}"
    ownership.check(arguments.sheet, label)
    from cifar.config.compose import composed, resolve
    from cifar.data import invalid_files
    from cifar.training.experiment import load

    settings = resolve(composed([*given, f"seed={arguments.seed}"]))
    with invalid_files.collected() as invalid:
        dataset = load(settings, all_targets=True)
    from cifar import plots
    from cifar.inspection import sheet, summary

    print(summary.as_text(dataset, invalid.messages, terminal.width(), getattr(settings.data, "path", None)))
    ownership.write(arguments.sheet, plots.png(sheet.figure(dataset), ownership.MARK), label)
    print(f"\n{arguments.sheet} has examples with their targets")

"""The command `python -m cifar data`: arguments and their checks, before anything is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cifar.config.overrides import data_settings
from cifar.files import ownership
from cifar.runtime import terminal
from cifar.runtime.errors import InputError
from cifar.runtime.status import status


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `data`."""
    add = command.add_argument
    add("settings", metavar="data=NAME", nargs="*", help="settings of the data, such as data=folder data.path=DIR")
    add("--clear", action="store_true", help="only remove the decoded photos that earlier runs have left")
    add("--seed", type=int, default=0, help="seed of the validation split (default: 0)")
    add("--sheet", type=Path, default=Path("data_examples.png"), help="the picture of examples (default: %(default)s)")


def describe(arguments: argparse.Namespace) -> None:
    """Print what was found in the data, and draw examples with their targets; raises `InputError`."""
    if arguments.clear:
        _clear(arguments.settings)
        return
    if not arguments.settings:
        raise InputError("data: needs the settings of the data, such as data=folder data.path=DIR, or --clear")
    given, others = data_settings(arguments.settings)
    if others:
        raise InputError(f"data {others[0]}: should be a setting of the data, such as data.path=DIR")
    label = f"--sheet {arguments.sheet}"
    ownership.check(arguments.sheet, label)
    from cifar.config.compose import composed, resolve
    from cifar.data import invalid_files
    from cifar.training.experiment import load

    settings = resolve(composed([*given, f"seed={arguments.seed}"]))
    with status(f"loading data={settings.data.name}"), invalid_files.collected(is_audit=False) as invalid:
        dataset = load(settings, all_targets=True)
        from cifar.inspection import summary

    print(summary.as_text(dataset, invalid, terminal.width(), getattr(settings.data, "path", None)), flush=True)
    with status("drawing examples"):
        from cifar import plots
        from cifar.inspection import sheet

        ownership.write(arguments.sheet, plots.png(sheet.figure(dataset), ownership.MARK), label)
    print(f"\n{arguments.sheet} has examples with their targets")


def _clear(settings: Sequence[str]) -> None:
    """Remove all decoded photos, and print how much that was."""
    if settings:
        raise InputError(f"data --clear {settings[0]}: removes the decoded photos of all data; accepted: no settings")
    from cifar.data.photos import cache

    removed = cache.clear()
    print(f"{sum(removed.values()) / 1e6:,.1f} MB of decoded photos are removed from {cache.root()}")

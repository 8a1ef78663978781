"""The command `python -m cifar audit`: arguments and their checks, before anything is loaded."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from cifar.config.arguments import number
from cifar.config.overrides import data_settings
from cifar.files import ownership
from cifar.runtime import output, terminal
from cifar.runtime.errors import InputError
from cifar.runtime.live import LiveLines
from cifar.runtime.status import status


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `audit`."""
    add = command.add_argument
    add("settings", metavar="data=NAME", nargs="*", help="settings of the data, such as data=folder data.path=DIR")
    add(
        "--seed",
        type=number(int, 0, 2**31 - 1),
        default=0,
        help="seed of the validation split and of the networks (default: 0)",
    )
    add("--skip-labels", action="store_true", help="skip the check of labels, which trains three small networks")
    add("--html", type=Path, default=Path("audit.html"), help="the page with the pictures (default: audit.html)")
    add("--json", action="store_true", help="print the number of findings of each check as JSON")
    add("--exclude", type=Path, metavar="FILE", help="write a list of images that data.exclude=FILE leaves out")


def audit(arguments: argparse.Namespace) -> None:
    """Check the data; print the findings, write them as a page, and the list if asked for; raises `InputError`."""
    given, others = data_settings(arguments.settings)
    if others:
        raise InputError(f"audit {others[0]}: should be a setting of the data, such as data.path=DIR")
    ownership.check(arguments.html, f"--html {arguments.html}")
    if arguments.exclude:
        ownership.check(arguments.exclude, f"--exclude {arguments.exclude}")
    from cifar.config.compose import composed, resolve
    from cifar.data import exclusion, invalid_files
    from cifar.training.experiment import load

    settings = resolve(composed([*given, f"seed={arguments.seed}"]))
    with status(f"loading data={settings.data.name}"), invalid_files.collected() as invalid:
        dataset = load(settings, all_targets=True)
        from cifar.audit import findings, page, report

    with _Steps() as steps:
        flips = "flip" in settings.augmentation
        found = findings.audit(dataset, invalid.messages, arguments.seed, not arguments.skip_labels, flips, steps)
    page.write(found, arguments.html, f"--html {arguments.html}")
    if arguments.json:
        output.print_json(report.as_plain(found))
    else:
        print(report.as_text(found, terminal.width()))
        print(f"\n{arguments.html} has the pictures")
    if arguments.exclude:
        images = found.excluded()
        exclusion.write(arguments.exclude, dataset.name, images, f"--exclude {arguments.exclude}")
        line = f"data.exclude={arguments.exclude} leaves {len(images):,} training and validation images out"
        print(line, file=sys.stderr if arguments.json else None)


class _Steps:
    """Prints a line on stderr when a step ends: its name and its seconds. A terminal shows the name before."""

    def __init__(self) -> None:
        self._name, self._began, self._lines = "", 0.0, LiveLines(sys.stderr)

    def __call__(self, name: str) -> None:
        self._end()
        self._name, self._began = name, time.monotonic()
        self._lines.show([f"{name} …"])

    def __enter__(self) -> _Steps:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._name:
            self._lines.print(f"{self._name}: {time.monotonic() - self._began:.0f} s")

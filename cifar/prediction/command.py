"""The command `python -m cifar predict`: a finished run's answers for image files."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cifar.files import ownership
from cifar.prediction import files, reading
from cifar.runtime import output
from cifar.runtime.errors import InputError, warn
from cifar.runtime.live import LiveLines
from cifar.runtime.terminal import duration

if TYPE_CHECKING:
    from cifar.interfaces import Task
    from cifar.prediction.reports import Report


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `predict`."""
    add = command.add_argument
    command.description = (
        "Print a finished run's answers for images: in a terminal as a table, elsewhere as a line of JSON for each. "
        "Files that cannot be read are named, the others are answered, and the exit code is 2. Boxes and masks are "
        "drawn on a copy of the image, IMAGE.predicted.png."
    )
    add("run_id", metavar="RUN", help="a finished run; its data are not needed")
    add(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="a PNG, JPEG, WebP, BMP, TIFF or GIF file of any size, a folder, or a pattern such as 'photos/*.jpg'",
    )
    add("--json", action="store_true", help="lines of JSON in a terminal too")
    add("--csv", type=Path, metavar="FILE", help="also write the answers to a new CSV file")
    add(
        "--embeddings",
        type=Path,
        metavar="FILE",
        help="also write the features before the head to a new file: NAME.npy, or NAME.npz with the files' names",
    )


def predict(arguments: argparse.Namespace) -> None:
    """Answer all images that can be read, in batches; raises `InputError`, at the end if some cannot."""
    _check_new_files(arguments)
    paths = files.expanded(arguments.images)
    refused: list[InputError] = []
    readable = reading.readable(paths, refused.append)
    if readable:
        from cifar.prediction.recorded import Recorded

        recorded = Recorded.find(arguments.tracking_uri, arguments.run_id)
        reports = _reports(arguments, recorded.experiment.task, readable)
        progress = Progress(len(readable))
        for answered in recorded.answers(readable, refused.append):
            for report in reports:
                report.add(answered)
            progress.advance()
        progress.clear()
        if len(refused) < len(paths):
            for report in reports:
                report.close()
    _report_unreadable(refused, len(paths))


class Progress:
    """On a terminal, a bar below what is printed, with the images that are done and the time that is left."""

    BAR = 24

    def __init__(self, total: int):
        self._lines, self._total, self._done, self._first = LiveLines(sys.stderr), total, 0, 0.0

    def advance(self) -> None:
        """Count an image; the time that is left is estimated from those after the first, for which the model loads."""
        now = time.monotonic()
        self._first = self._first or now
        if self._done and self._lines.is_due:
            pace = max((now - self._first) / self._done, 1e-6)
            filled = self.BAR * self._done // self._total
            bar = "#" * filled + "-" * (self.BAR - filled)
            left = duration(pace * (self._total - self._done))
            self._lines.show([f"[{bar}] {self._done:,}/{self._total:,} images  {1 / pace:,.0f} images/s  {left} left"])
        self._done += 1

    def clear(self) -> None:
        """Erase the bar."""
        self._lines.clear()


def _check_new_files(arguments: argparse.Namespace) -> None:
    for option, path in (("--csv", arguments.csv), ("--embeddings", arguments.embeddings)):
        if path:
            ownership.check_new(path, f"{option} {path}")
    if arguments.embeddings and arguments.embeddings.suffix not in (".npy", ".npz"):
        raise InputError(f"--embeddings {arguments.embeddings}: the name should end in .npy or .npz")


def _reports(arguments: argparse.Namespace, task: Task, paths: Sequence[Path]) -> list[Report]:
    """What takes the answers; raises `InputError` where it cannot be written."""
    from cifar.prediction import reports

    is_table = output.is_live(sys.stdout) and not arguments.json
    chosen: list[Report] = [reports.Table() if is_table else reports.JsonLines()]
    if task.is_dense:
        chosen.append(reports.Pictures(task, paths))
    if arguments.csv:
        chosen.append(reports.Csv(arguments.csv, task.is_classifier))
    if arguments.embeddings:
        chosen.append(reports.Embeddings(arguments.embeddings))
    return chosen


def _report_unreadable(refused: Sequence[InputError], total: int) -> None:
    """Name the files that could not be read; raises `InputError` if there are any."""
    if total == len(refused) == 1:
        raise refused[0]
    for error in refused:
        warn(str(error))
    if refused:
        others = "; the others are answered" if len(refused) < total else ""
        raise InputError(f"{len(refused):,} of {total:,} files cannot be read{others}")

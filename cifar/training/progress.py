"""The training as the terminal shows it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from typing import TextIO

from cifar.runtime.live import LiveLines
from cifar.runtime.terminal import GAP, duration

BEST = "best"


class Progress:
    """A line for each epoch. On a terminal a row of a table, and below it the current step, five times a second.

    A line has the metrics that fit its width; elsewhere than on a terminal, it names its values.
    """

    def __init__(self, batch_size: int, steps: int, epochs: int = 0, stream: TextIO | None = None):
        self._batch_size, self._steps, self.epochs = batch_size, steps, epochs
        self._lines = LiveLines(stream)
        self._widths: dict[str, int] = {}
        self._header = ""
        self.compiles()

    def compiles(self) -> None:
        """The next step and validation compile, as the first ones do; earlier epochs say nothing about later ones."""
        self._is_compiled = self._validation_is_compiled = False
        self._seconds: list[float] = []

    def begin(self, epoch: int, step: int) -> None:
        """Start an epoch at its step `step`, which is not 0 where it is resumed; both counted from 0."""
        self._epoch, self._start = epoch + 1, time.perf_counter()
        self._first_step, self._timed_from, self._compilation = step, (step, self._start), 0.0
        if not self._is_compiled:
            self._lines.show([f"epoch {self._number()}  compiling the first step …"])

    def step_done(self, step: int, logs: Mapping[str, float]) -> None:
        """Show step `step` of the epoch, counted from 1."""
        if not self._is_compiled:  # the first step includes compilation
            self._is_compiled, self._timed_from = True, (step, time.perf_counter())
            self._compilation = self._timed_from[1] - self._start
        elif self._lines.is_due:
            first_step, start = self._timed_from
            pace = (time.perf_counter() - start) / (step - first_step)
            left = pace * (self._steps - step) + self._seconds_left(pace * self._steps)
            self._lines.show([self._fitted({
                "epoch": f"epoch {self._number()}",
                "step": f"step {step}/{self._steps}",
                "loss": f"loss {logs['loss']:.4f}",
                "images/s": f"{self._batch_size / pace:,.0f} images/s",
                "left": f"{duration(left)} left",
            }, ["images/s", "loss", "step"])])  # fmt: skip

    def validation_begins(self) -> None:
        """Note when the validation begins."""
        self._validation_start = time.perf_counter()

    def validation_step_done(self) -> None:
        """Count the time to the end of the first batch of all validations as compilation."""
        if not self._validation_is_compiled:
            self._validation_is_compiled = True
            self._compilation += time.perf_counter() - self._validation_start

    def epoch_done(self, metrics: Mapping[str, float], is_best: bool) -> None:
        """Show the finished epoch's `metrics`, by their logged names."""
        seconds = time.perf_counter() - self._start
        share = 1 - self._first_step / self._steps  # of the epoch, where a run is resumed within it
        self._seconds.append((seconds - self._compilation) / share)
        values = {name: f"{metrics[name]:.4f}" for name in metrics if name.startswith(("train/", "val/"))}
        speed = f"{metrics['images_per_second']:,.0f}"
        spent, left = duration(seconds), duration(self._seconds_left(seconds))
        if self._lines.is_live:
            self._print_row(
                {"epoch": self._number(), **values, "images/s": speed, "time": spent, "left": left}, is_best
            )
        else:
            parts = {"epoch": f"epoch {self._number()}"} | {name: f"{name} {value}" for name, value in values.items()}
            parts |= {"images/s": f"{speed} images/s", "time": spent, "left": f"{left} left"}
            line = self._fitted(parts, _least_important_first(values))
            self._lines.print(f"{line}{GAP}{BEST}" if is_best else line)

    def close(self) -> None:
        """End the line that is being rewritten, so that the next one begins on its own."""
        self._lines.close()

    def _number(self) -> str:
        return f"{self._epoch:>{len(str(self.epochs))}}/{self.epochs}"

    def _seconds_left(self, epoch: float) -> float:
        """Seconds that the remaining epochs take, if each takes as long as the earlier ones, or `epoch` seconds.

        The first epoch counts until there is a second: its time without compilation is an estimate.
        """
        counted = self._seconds[1:] or self._seconds or [epoch]
        per_epoch = sum(counted) / len(counted)
        return per_epoch * (self.epochs - self._epoch)

    def _print_row(self, cells: Mapping[str, str], is_best: bool) -> None:
        for name, cell in cells.items():
            self._widths[name] = max(self._widths.get(name, len(name)), len(cell))
        shown = _columns({name: self._widths[name] for name in cells}, _least_important_first(cells))
        header = GAP.join(name.rjust(self._widths[name]) for name in shown)
        if header != self._header:
            self._lines.print(header)
            self._header = header
        row = GAP.join(cells[name].rjust(self._widths[name]) for name in shown)
        self._lines.print(f"{row}{GAP}{BEST}" if is_best else row)

    def _fitted(self, parts: Mapping[str, str], dropped: Iterable[str]) -> str:
        """The `parts` in a line, without those of the names `dropped` that do not fit, the first of them first."""
        names = _columns({name: len(part) for name, part in parts.items()}, dropped)
        return GAP.join(parts[name] for name in names)


def _least_important_first(names: Iterable[str]) -> list[str]:
    """The columns of an epoch that a narrow line does without: not its number, the last to go is `val/loss`."""
    train, val = ([name for name in names if name.startswith(part) and name != f"{part}loss"]
                  for part in ("train/", "val/"))  # fmt: skip
    return ["images/s", "time", *train[::-1], "left", "train/loss", *val[::-1], "val/loss"]


def _columns(widths: Mapping[str, int], dropped: Iterable[str]) -> list[str]:
    """The names of the columns that fit a line, before the word `best`: of those `dropped`, the first go first."""
    available, names = shutil.get_terminal_size().columns - 1 - len(GAP + BEST), list(widths)
    for name in dropped:
        if sum(widths[name] + len(GAP) for name in names) - len(GAP) <= available:
            break
        names = [other for other in names if other != name]
    return names

"""The training as the terminal shows it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from typing import TextIO

from cifar.runtime.live import LiveLines
from cifar.runtime.terminal import GAP, duration

BEST = "best"


class Progress:
    """A line for each epoch. On a terminal a row of a table, and below it the current step, five times a second.

    The table has the columns that fit the terminal. Elsewhere each line names its values.
    """

    def __init__(self, batch_size: int, steps: int, epochs: int = 0, stream: TextIO | None = None):
        self._batch_size, self._steps, self.epochs = batch_size, steps, epochs
        self._lines = LiveLines(stream)
        self._seconds: list[float] = []
        self._widths: dict[str, int] = {}
        self._header = ""
        self._is_compiled = False

    def begin(self, epoch: int, step: int) -> None:
        """Start an epoch at its step `step`, which is not 0 where it is resumed; both counted from 0."""
        self._epoch, self._start = epoch + 1, time.perf_counter()
        self._timed_from = step, self._start

    def step_done(self, step: int, logs: Mapping[str, float]) -> None:
        """Show step `step` of the epoch, counted from 1."""
        if not self._is_compiled:  # the first step includes compilation
            self._is_compiled, self._timed_from = True, (step, time.perf_counter())
        elif self._lines.is_due:
            first_step, start = self._timed_from
            pace = (time.perf_counter() - start) / (step - first_step)
            left = pace * (self._steps - step) + self._seconds_left(pace * self._steps)
            self._lines.show([
                f"epoch {self._number()}  step {step}/{self._steps}  loss {logs['loss']:.4f}"
                f"  {self._batch_size / pace:,.0f} images/s  {duration(left)} left"
            ])  # fmt: skip

    def epoch_done(self, metrics: Mapping[str, float], is_best: bool) -> None:
        """Show the finished epoch's `metrics`, by their logged names."""
        seconds = time.perf_counter() - self._start
        self._seconds.append(seconds)
        values = {name: f"{metrics[name]:.4f}" for name in metrics if name.startswith(("train/", "val/"))}
        speed = f"{metrics['images_per_second']:,.0f}"
        spent, left = duration(seconds), duration(self._seconds_left(seconds))
        if self._lines.is_live:
            self._print_row(
                {"epoch": self._number(), **values, "images/s": speed, "time": spent, "left": left}, is_best
            )
        else:
            parts = [f"epoch {self._number()}", *(f"{name} {value}" for name, value in values.items())]
            parts += [f"{speed} images/s", spent, f"{left} left", *([BEST] if is_best else [])]
            self._lines.print(GAP.join(parts))

    def close(self) -> None:
        """End the line that is being rewritten, so that the next one begins on its own."""
        self._lines.close()

    def _number(self) -> str:
        return f"{self._epoch:>{len(str(self.epochs))}}/{self.epochs}"

    def _seconds_left(self, epoch: float) -> float:
        """Seconds that the remaining epochs take, if each takes as long as the earlier ones, or `epoch` seconds."""
        earlier = self._seconds[1:] or self._seconds  # the first includes compilation
        return (sum(earlier) / len(earlier) if earlier else epoch) * (self.epochs - self._epoch)

    def _print_row(self, cells: Mapping[str, str], is_best: bool) -> None:
        for name, cell in cells.items():
            self._widths[name] = max(self._widths.get(name, len(name)), len(cell))
        shown = self._columns(list(cells))
        header = GAP.join(name.rjust(self._widths[name]) for name in shown)
        if header != self._header:
            self._lines.print(header)
            self._header = header
        row = GAP.join(cells[name].rjust(self._widths[name]) for name in shown)
        self._lines.print(f"{row}{GAP}{BEST}" if is_best else row)

    def _columns(self, names: list[str]) -> list[str]:
        """The columns that fit the terminal: of those that do not, the less important are left out."""
        others = [[name for name in names if name.startswith(part) and name != f"{part}loss"]
                  for part in ("train/", "val/")]  # fmt: skip
        available = shutil.get_terminal_size().columns - 1 - len(GAP + BEST)
        for name in ["images/s", "time", *others[0][::-1], "left", "train/loss", *others[1][::-1], "val/loss"]:
            if sum(self._widths[name] + len(GAP) for name in names) - len(GAP) <= available:
                break
            names = [other for other in names if other != name]
        return names

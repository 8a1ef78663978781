"""The training as the terminal shows it."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from typing import TextIO

from cifar.runtime.output import is_live
from cifar.runtime.terminal import duration, fitted


class Progress:
    """One line an epoch; on a terminal, the epoch that runs is rewritten in place several times a second."""

    def __init__(self, batch_size: int, steps: int, epochs: int = 0, stream: TextIO | None = None):
        self._batch_size, self._steps, self.epochs = batch_size, steps, epochs
        self._stream = stream or sys.stdout
        self._live = is_live(self._stream)
        self._unfinished = False
        self._drawn = 0.0
        self._spent: list[float] = []

    def begin(self, epoch: int, step: int) -> None:
        """Start an epoch, at its step `step` where it is resumed; both from 0."""
        self._epoch, self._first_step, self._start = epoch + 1, step, time.perf_counter()

    def step_done(self, step: int, logs: Mapping[str, float]) -> None:
        """Show step `step` of the epoch, counted from 1."""
        now = time.perf_counter()
        if self._live and now - self._drawn > 0.2:
            self._drawn, pace = now, (now - self._start) / (step - self._first_step)
            epoch = sum(self._spent) / len(self._spent) if self._spent else pace * self._steps
            left = pace * (self._steps - step) + epoch * (self.epochs - self._epoch)
            line = (
                f"{self._head()}  step {step}/{self._steps}  loss {logs['loss']:.4f}"
                f"  {self._batch_size / pace:,.0f} images/s  {duration(left)} left"
            )
            # What is wider than the terminal would stay there, a row for each time that it is drawn.
            self._draw(fitted(line, shutil.get_terminal_size().columns - 1))
            self._unfinished = True

    def epoch_done(self, metrics: Mapping[str, float], is_best: bool) -> None:
        """Show the finished epoch's `metrics`, by their logged names."""
        self._spent.append(time.perf_counter() - self._start)
        left = sum(self._spent) / len(self._spent) * (self.epochs - self._epoch)
        values = [f"{name} {metrics[name]:.4f}" for name in metrics if name.startswith(("train/", "val/"))]
        line = "  ".join(
            [
                self._head(),
                *values,
                f"{metrics['images_per_second']:,.0f} images/s",
                f"{duration(self._spent[-1])}",
                f"{duration(left)} left",
            ]
        )
        self._draw(line + ("  best" if is_best else "") + "\n")
        self._unfinished = False

    def close(self) -> None:
        """End a line that is still being rewritten, so that what comes next begins on one of its own."""
        if self._unfinished:
            self._stream.write("\n")
            self._stream.flush()
        self._unfinished = False

    def _head(self) -> str:
        return f"epoch {self._epoch:>{len(str(self.epochs))}}/{self.epochs}"

    def _draw(self, line: str) -> None:
        self._stream.write(f"\r\x1b[K{line}" if self._live else line)
        self._stream.flush()

"""Work on many photos in the threads of all cores, with a line about its progress."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context

from cifar.runtime.live import LiveLines

CHUNK = 32
"""Photos of one task of a thread."""
QUIET = 5.0
"""Seconds after which there is a line, and between lines where the output is no terminal."""


def in_threads(work: Callable[[int], None], count: int, what: str) -> None:
    """Call `work` with 0 to `count` - 1, in any order; `what` says what is done. Raises what `work` raises."""

    def chunk(first: int) -> int:
        numbers = range(first, min(first + CHUNK, count))
        for number in numbers:
            work(number)
        return len(numbers)

    progress = _Progress(what, count)
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        for future in as_completed([pool.submit(copy_context().run, chunk, first) for first in range(0, count, CHUNK)]):
            progress.add(future.result())
    finally:
        pool.shutdown(cancel_futures=True)
        progress.close()


class _Progress:
    """A line on stderr: how many of how many, and how many a second."""

    def __init__(self, what: str, count: int):
        self._what, self._count, self._done = what, count, 0
        self._lines = LiveLines(sys.stderr)
        self._began = self._printed = time.monotonic()

    def add(self, number: int) -> None:
        self._done += number
        now = time.monotonic()
        seconds = now - self._began
        line = f"{self._what}: {self._done:,} of {self._count:,}, {self._done / max(seconds, 1e-9):,.0f} a second"
        if self._lines.is_due and seconds > 1:
            self._lines.show([line])
        elif not self._lines.is_live and now - self._printed > QUIET:
            self._lines.print(line)
            self._printed = now

    def close(self) -> None:
        self._lines.clear()

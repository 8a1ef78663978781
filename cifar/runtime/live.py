"""Lines at the end of a terminal's output that are rewritten in place.

`rich.live.Live` (15.0) does the same, but when the terminal gets narrower, it leaves a row behind for each line that
wraps.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from cifar.runtime.output import is_live
from cifar.runtime.terminal import fitted, text_width

_active: LiveLines | None = None


class LiveLines:
    """The lines that `show` has written last; `print` writes lines that stay above them.

    Without a terminal, `show` writes nothing and `print` writes plain lines. `show` is due every `interval` seconds.
    """

    def __init__(self, stream: TextIO | None = None, interval: float = 0.2):
        self._stream, self._interval = stream or sys.stdout, interval
        self.is_live = is_live(self._stream)
        self._shown: list[str] = []
        self._drawn = float("-inf")

    @property
    def is_due(self) -> bool:
        """True on a terminal whose lines were shown at least `interval` seconds ago."""
        return self.is_live and time.monotonic() - self._drawn >= self._interval

    def show(self, lines: Sequence[str]) -> None:
        """Write `lines` in the place of those shown before, cut to the size of the terminal."""
        global _active
        if not self.is_live:
            return
        if _active and _active is not self:
            _active.clear()
        columns, rows = shutil.get_terminal_size()
        shown = [fitted(line, columns - 1) for line in lines[: max(rows - 1, 1)]]
        self._stream.write(self._erasure() + "\n".join(shown))
        self._stream.flush()
        self._shown, self._drawn, _active = shown, time.monotonic(), self

    def print(self, line: str) -> None:
        """Write a line that stays."""
        self._stream.write(f"{self._erasure()}{line}\n")
        self._stream.flush()
        self._shown = []

    def clear(self) -> None:
        """Erase the lines."""
        if self._shown:
            self._stream.write(self._erasure())
            self._stream.flush()
        self._shown = []

    def close(self) -> None:
        """Leave the lines as they are, and begin a new one."""
        if self._shown:
            self._stream.write("\n")
            self._stream.flush()
        self._shown = []

    def _erasure(self) -> str:
        """The characters that erase the lines, and with them an echoed `^C`."""
        if not self._shown:
            return ""
        columns = shutil.get_terminal_size().columns
        # In a terminal that has become narrower, a line takes several rows.
        rows = sum(-(-max(text_width(line), 1) // columns) for line in self._shown)
        return (f"\r\x1b[{rows - 1}A" if rows > 1 else "\r") + "\x1b[J"


def clear() -> None:
    """Erase the lines that are shown, if there are any, so that a message begins on a line of its own."""
    if _active:
        _active.clear()

"""Output of a command: standard streams that take any character and may be closed, and pictures without a display."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any, TextIO

STREAMS = ("stdin", "stdout", "stderr")
"""The standard streams, in the order of their file descriptors."""


class Lossy(io.FileIO):
    """A file that drops what it cannot take: its reader has gone, its terminal is closed, or its disk is full."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def prepare() -> None:
    """Make the standard streams safe to use: call this first in a process of a command.

    A stream that is closed becomes `os.devnull`, since the next file to be opened, such as a database, would get its
    descriptor and with it what is printed. A character that the encoding lacks is printed as `?`. What standard error
    cannot take is dropped.
    """
    # Notebooks set one of their own for all that they start, where matplotlib, which Keras imports, may not find it.
    os.environ["MPLBACKEND"] = "agg"
    for descriptor in range(len(STREAMS)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free descriptor is this one
    for descriptor, name in enumerate(STREAMS):
        if getattr(sys, name) is None:
            nothing = io.FileIO(os.devnull, "w" if descriptor else "r")
            setattr(sys, name, io.TextIOWrapper(nothing, "utf-8", line_buffering=True))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    sys.stderr = _lossy(sys.stderr)


def print_json(value: Any) -> None:
    """Print what JSON can hold, for programs that read it."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def drop_unread() -> None:
    """Ignore write errors of standard output from now on, so that a training continues when its reader has gone."""
    sys.stdout = _lossy(sys.stdout)


def is_live(stream: TextIO) -> bool:
    """True for a terminal on which a line can be rewritten."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _lossy(stream: TextIO) -> TextIO:
    """`stream` on a `Lossy` file, unless another program has put its own in the place of Python's."""
    if not isinstance(stream, io.TextIOWrapper) or stream not in (sys.__stdout__, sys.__stderr__):
        return stream
    stream.flush()
    buffer = io.BufferedWriter(Lossy(stream.fileno(), "w", closefd=False))
    at_once = stream.line_buffering or stream.write_through
    return io.TextIOWrapper(buffer, stream.encoding, stream.errors, line_buffering=at_once)

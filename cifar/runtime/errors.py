"""Errors that end a command, each in one line with its exit code."""

from __future__ import annotations

import difflib
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterable
from contextlib import ContextDecorator

from cifar.runtime import live

DEBUG = "--debug" in sys.argv or os.environ.get("HYDRA_FULL_ERROR") == "1"
"""True if tracebacks are requested."""


class InputError(ValueError):
    """A setting, file or argument that cannot be used: exit code 2."""


class TrainingError(RuntimeError):
    """A training that cannot go on, such as a loss that is not finite: exit code 1."""


class Pruned(Exception):  # noqa: N818, for it is no error
    """The sweep that a run is a job of has given it up, as others do better: exit code 3."""

    def __init__(self, epoch: int):
        super().__init__(f"pruned in epoch {epoch}")


class Interrupted(BaseException):
    """A signal asked the process to end: exit code 128 plus the signal's number."""

    def __init__(self, signum: int):
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.signum = signum


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """The end of a message about an unknown `name`: the closest of `names`, then all of them."""
    names = sorted(names)
    return f"{closest(name, names)}known: {', '.join(names) or 'none'}"


def closest(name: object, names: Iterable[str]) -> str:
    """A question for the closest of `names`, with a space after it; nothing where none is close."""
    found = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.6)
    return f"did you mean {found[0]!r}? " if found else ""


def warn(line: str) -> None:
    """Print a warning on stderr, in one line."""
    live.clear()
    print(f"warning: {line}", file=sys.stderr, flush=True)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its name where it has none."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def environmental(error: BaseException) -> str:
    """The line that says which limit of the machine an error comes from: memory, disk, permission; empty if none."""
    line = first_line(error)
    # The libraries' own errors, known by name, so that none of them is imported here.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError" or "RESOURCE_EXHAUST" in line:
        line = re.sub(r"^\{\{.*?\}\} ", "", line)  # the name that TensorFlow gives the operation
        return f"out of memory: {line}; accumulate_steps=2, a smaller batch_size, model or data.limit needs less"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else line
    return ""


def is_expected(error: BaseException) -> bool:
    """True for an error that is raised with a message for the user."""
    return isinstance(error, InputError | TrainingError | Pruned | Interrupted)


def reason(error: BaseException) -> str:
    """The line that says why a run has ended early."""
    if is_expected(error):
        return str(error)
    name = type(error).__name__
    return environmental(error) or (f"{name}: {first_line(error)}" if str(error).strip() else name)


class ExitCodes(ContextDecorator):
    """Ends the process with one line on stderr and the right exit code where a mistake or a failure has a name.

    An error without one, which is a mistake in code, is shown with its traceback, and in the last line. With `--debug`
    on the command line, or HYDRA_FULL_ERROR=1, every error is. Not a generator, which launchers that send `main` to
    another machine could not pickle.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, SystemExit):
            try:
                sys.stdout.flush()
            except OSError as failed:
                error = failed
        match error:
            case InputError():
                _exit(error, f"error: {error}", 2)
            case TrainingError():
                _exit(error, f"failed: {error}", 1)
            case Pruned():
                _exit(error, str(error), 3)
            case Interrupted():
                _exit(error, str(error), 128 + error.signum)
            case KeyboardInterrupt():
                _exit(error, "interrupted", 130)
            case BrokenPipeError():  # the reader, such as `head`, has enough
                _end(141)
            case Exception():
                _exit(error, f"failed: {reason(error)}", 1, traced=not environmental(error))


def _exit(error: BaseException, line: str, code: int, traced: bool = False) -> None:
    line = "; ".join([line, *getattr(error, "__notes__", ())]).replace("\n", "\\n")
    error.__notes__ = []  # they are in the line
    if DEBUG or traced:
        traceback.print_exception(error)
    live.clear()
    # On a terminal, the `^C` that Ctrl-C has left is erased.
    start = "\r\x1b[K" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else ""
    print(f"{start}{line}", file=sys.stderr, flush=True)
    _end(code)


def _end(code: int) -> None:
    """End with `code`, where Python would end with its own if what is left to print cannot be."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)

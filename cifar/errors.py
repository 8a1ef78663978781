"""Mistakes of the user and failures of a run, each told in one line; and the exit codes they end in."""

from __future__ import annotations

import difflib
import os
import signal
import sys
import traceback
from collections.abc import Iterable
from contextlib import ContextDecorator

DEBUG = "--debug" in sys.argv or os.environ.get("HYDRA_FULL_ERROR") == "1"
"""Whether tracebacks are asked for."""


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


def known(name: object, names: Iterable[str]) -> str:
    """The end of a message about an unknown `name`: the closest of `names`, then all of them."""
    names = sorted(names)
    return f"{closest(name, names)}known: {', '.join(names) or 'none'}"


def closest(name: object, names: Iterable[str]) -> str:
    """A question for the closest of `names`, with a space after it; nothing where none is close."""
    found = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.5)
    return f"did you mean {found[0]!r}? " if found else ""


def warn(line: str) -> None:
    """Tell on stderr, in one line, what the user should know though the work goes on."""
    print(f"warning: {line}", file=sys.stderr, flush=True)


class ExitCodes(ContextDecorator):
    """Ends the process with one line on stderr and the right exit code where a mistake or a failure has a name.

    With `--debug` on the command line, or HYDRA_FULL_ERROR=1, the traceback is shown instead. Not a generator, which
    launchers that send `main` to another machine could not pickle.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
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
            case BrokenPipeError():  # the reader, such as `head`, has enough; nor may the flush at the end complain
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                sys.exit(141)


def _exit(error: BaseException, line: str, code: int) -> None:
    if DEBUG:
        traceback.print_exception(error)
    else:
        print(line.replace("\n", "\\n"), file=sys.stderr)
    sys.exit(code)

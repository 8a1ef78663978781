"""SIGINT, SIGTERM and SIGHUP end a run in order: what is in hand is finished first, a second signal leaves at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cifar.runtime import job_report
from cifar.runtime.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_received: list[int] = []
_deferred = False


@contextmanager
def handled() -> Iterator[None]:
    """Inside the `with`, a signal raises `Interrupted` in the main thread."""
    _received.clear()
    # A signal that is ignored, as SIGHUP is under `nohup`, stays so.
    heeded = [signum for signum in SIGNALS if signal.getsignal(signum) != signal.SIG_IGN]
    before = {signum: signal.signal(signum, _receive) for signum in heeded}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def deferred() -> Iterator[None]:
    """Inside the `with`, a signal waits for the next `check`, so that a training step is never left half done."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False


def pending() -> int:
    """The signal that has been received, 0 for none; SIGHUP where the sweep that this process is a job of is gone."""
    if not _received and job_report.is_orphan():
        _received.append(signal.SIGHUP)
    return _received[0] if _received else 0


def check() -> None:
    """Raise `Interrupted` if a signal has been received."""
    if pending():
        raise Interrupted(pending())


def _receive(signum: int, frame: FrameType | None) -> None:
    if _received:
        os._exit(128 + signum)
    _received.append(signum)
    if not _deferred:
        check()

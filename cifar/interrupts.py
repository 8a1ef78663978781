"""SIGINT and SIGTERM end a run in order: what is in hand is finished first, a second signal leaves at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cifar.errors import Interrupted

_received: list[int] = []
_deferred = False


@contextmanager
def handled() -> Iterator[None]:
    """Inside the `with`, a signal raises `Interrupted` in the main thread."""
    _received.clear()
    before = {signum: signal.signal(signum, _receive) for signum in (signal.SIGINT, signal.SIGTERM)}
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


def pending() -> bool:
    """Whether a signal has been received."""
    return bool(_received)


def check() -> None:
    """Raise `Interrupted` if a signal has been received."""
    if pending():
        raise Interrupted(_received[0])


def _receive(signum: int, frame: FrameType | None) -> None:
    if _received:
        os._exit(128 + signum)
    _received.append(signum)
    if not _deferred:
        check()

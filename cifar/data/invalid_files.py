"""Files and annotations that a data set cannot use: refused at the first one, or all of them collected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from cifar.runtime.errors import InputError

_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


@contextmanager
def collected() -> Iterator[list[str]]:
    """Inside the `with`, data sets leave out what they cannot use; the list gets a message about each."""
    found: list[str] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


@contextmanager
def skipping_invalid() -> Iterator[None]:
    """Add the `InputError` that the body raises to the list of `collected()`; without one, raise it."""
    try:
        yield
    except InputError as error:
        if (found := _collected.get()) is None:
            raise
        found.append(str(error))

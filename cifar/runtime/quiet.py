"""Silencing libraries, which print, log and warn of their own accord; their errors still raise.

What they read from the environment when they are loaded is set in `cifar/__init__.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def silence(*loggers: str, warnings: Sequence[str] = ()) -> None:
    """From now on drop what the `loggers` record below an error, and warnings whose text matches one of `warnings`.

    Libraries set the levels of their loggers when they are imported, so this comes after.
    """
    import logging
    from warnings import filterwarnings

    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    for text in warnings:
        filterwarnings("ignore", text)


@contextmanager
def silenced(descriptor: int) -> Iterator[None]:
    """Drop what is written to stdout (1) or stderr (2) inside the `with`, by Python as by libraries of C++."""
    stream = sys.stdout if descriptor == 1 else sys.stderr
    stream.flush()
    before = os.dup(descriptor)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), descriptor)
    try:
        yield
    finally:
        stream.flush()
        os.dup2(before, descriptor)
        os.close(before)

"""What is being done while nothing else is printed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cifar.runtime.live import LiveLines


@contextmanager
def status(doing: str) -> Iterator[None]:
    """Inside the `with`, a terminal's last line is `doing`, such as `loading TensorFlow`; other outputs have none."""
    lines = LiveLines()
    lines.show([f"{doing} …"])
    try:
        yield
    finally:
        lines.clear()

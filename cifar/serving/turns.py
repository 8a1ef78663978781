"""Turns for work in the event loop, so that none of the many requests that arrive waits for the work of all others."""

from __future__ import annotations

import asyncio
import time

SECONDS = 0.003
"""Work that is done before all else that is ready, such as a new connection, has its turn."""


class Turns:
    """Divides the work of requests into turns of `SECONDS`, between which the event loop looks for what has arrived."""

    def __init__(self) -> None:
        self._number, self._began = 0, 0.0

    async def wait(self) -> None:
        """Return in this turn while it lasts, else in one of the next, in the order of the calls."""
        while time.perf_counter() - self._began > SECONDS:
            number = self._number
            await asyncio.sleep(0)
            if self._number == number:  # this is the first task of the next turn
                self._number, self._began = number + 1, time.perf_counter()

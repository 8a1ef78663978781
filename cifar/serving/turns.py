"""Turns for work in the event loop, so that other requests are answered in between."""

from __future__ import annotations

import asyncio
import time

SECONDS = 0.01
"""Work that is done without a pause."""


class Turns:
    """Lets one task work at a time, with a pause for all else that is ready after `SECONDS`.

    Without it, the work of all requests that have arrived would be done before the next one is even accepted.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._worked = 0.0

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        if self._worked > SECONDS:
            self._worked = 0.0
            await asyncio.sleep(0)
        self._began = time.perf_counter()

    async def __aexit__(self, *_: object) -> None:
        self._worked += time.perf_counter() - self._began
        self._lock.release()

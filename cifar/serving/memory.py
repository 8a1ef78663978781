"""The memory of requests and answers."""

from __future__ import annotations

from starlette.exceptions import HTTPException


class Memory:
    """The bytes of requests that have arrived, and of answers that are not read yet."""

    def __init__(self, limit: int):
        self._limit = limit
        self.used = 0

    def take(self, size: int) -> None:
        """Count `size` more bytes, until they are given back; raises `HTTPException`."""
        if self.used + size > self._limit:
            raise HTTPException(503, "too many requests", {"Retry-After": "1"})
        self.used += size

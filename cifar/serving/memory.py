"""The memory of requests and answers."""

from __future__ import annotations

from starlette.exceptions import HTTPException

SMALL = 2**20
"""Bytes of a small request or answer, such as most photos."""


class Memory:
    """The bytes of requests that have arrived, and of answers that are not read yet.

    A quarter of it is kept for the small ones, so that they are answered however many large ones arrive.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self.used = 0

    def take(self, size: int, of: int) -> None:
        """Count `size` more bytes, until they are given back, of a request with `of` so far; raises `HTTPException`."""
        if self.used + size > (self._limit if of <= SMALL else 3 * self._limit // 4):
            raise HTTPException(503, "too many requests", {"Retry-After": "1"})
        self.used += size

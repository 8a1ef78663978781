"""Limits of a service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much a service takes at once; beyond it, a request is refused."""

    max_batch: int = 64
    """Images that are computed together, and that one request may bring."""
    max_wait: float = 2.0
    """Milliseconds that a batch waits for as many images as the last one had."""
    queue: int = 1024
    """Images that wait to be computed, of each model."""
    max_body: int = 2**24
    """Bytes of a request."""
    max_pixels: int = 2**25
    """Pixels that the images of a request declare, before they are resized: what decoding them costs."""
    timeout: float = 10.0
    """Seconds in which the head of a request comes, and then its body."""

    @property
    def bodies(self) -> int:
        """Bytes of all requests in flight."""
        return 16 * self.max_body

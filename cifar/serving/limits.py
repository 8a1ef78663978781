"""Limits of a service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of a service; requests beyond them are refused."""

    max_batch: int = 64
    """Images in a batch, and in a request."""
    max_wait: float = 2.0
    """Milliseconds that a batch waits to have as many images as the previous one."""
    queue: int = 1024
    """Waiting images of a model."""
    max_body: int = 2**24
    """Bytes of a request."""
    max_pixels: int = 2**25
    """Pixels in all images of a request, before resizing; they determine the cost of decoding."""
    timeout: float = 10.0
    """Seconds to receive a request's head, then its body, and to read each part of an answer."""

    @property
    def memory(self) -> int:
        """Bytes of all requests and answers in flight."""
        return 16 * self.max_body


MAX_NUMBERS = 2**22
"""Numbers in an answer to several images: about 80 MB of JSON."""

"""Dynamic batching: requests that arrive together are computed as one batch."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np


class QueueFull(Exception):  # noqa: N818, named as asyncio names its own
    """The queue has reached its maximum number of images."""


class Waiting(NamedTuple):
    """Images (n, height, width, channels) of a request, and the future of its outputs."""

    images: np.ndarray | list[Any]
    outputs: asyncio.Future


class Batcher:
    """Computes the outputs of queued requests in batches of at most `max_size` images.

    `compute` takes the images of several requests and returns the outputs of each. It runs in its own thread; requests
    that arrive in the meantime form the next batch. A batch with fewer images than the previous one waits up to
    `max_wait` milliseconds for more, so that a single client never waits and many clients stay batched. A batch also
    waits while requests are being read, for at most as long as the previous one took: of two halves of the clients,
    each of which is computed while the other is read, the batches take up to a quarter more of the CPU.

    It is bound to the event loop in which it is used. Its thread ends when it is garbage-collected.
    """

    def __init__(
        self, compute: Callable[[list[Any]], Sequence[Any]], *, max_size: int, max_wait: float, max_queue: int
    ):
        self._compute, self._max_size, self._max_wait, self._max_queue = compute, max_size, max_wait / 1000, max_queue
        self._thread = ThreadPoolExecutor(1, "batcher")
        self._waiting: deque[Waiting] = deque()
        self._last, self._took = 1, 0.0
        self._filled = asyncio.Event()
        self._running: asyncio.Task | None = None
        self.images = 0

    def submit(self, images: np.ndarray | list[Any]) -> asyncio.Future:
        """Queue `images` (n, height, width, channels), at most `max_size`; return a cancelable future of their outputs.

        Raises `QueueFull`.
        """
        if self.images + len(images) > self._max_queue:
            raise QueueFull
        outputs = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(images, outputs))
        self.images += len(images)
        if self.images >= self._last:
            self._filled.set()
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return outputs

    async def _run(self) -> None:
        """Compute batches until the queue is empty."""
        while self._waiting:
            if self.images < self._last and self._max_wait:
                self._filled.clear()
                try:
                    async with asyncio.timeout(self._max_wait):
                        await self._filled.wait()
                except TimeoutError:
                    pass
            if self._max_wait:
                await self._gather()
            batch = self._take()
            if batch:
                began = time.perf_counter()
                await self._answer(batch)
                self._took = time.perf_counter() - began
        self._running = None

    async def _gather(self) -> None:
        """Wait while each iteration of the event loop adds a request."""
        end, before = time.perf_counter() + self._took, 0
        while before < self.images < self._max_size and time.perf_counter() < end:
            before = self.images
            await asyncio.sleep(0)

    def _take(self) -> list[Waiting]:
        """Remove the requests of the next batch from the queue, without canceled ones."""
        batch, images = [], 0
        while self._waiting and images + len(self._waiting[0].images) <= self._max_size:
            request = self._waiting.popleft()
            self.images -= len(request.images)
            if not request.outputs.done():
                batch.append(request)
                images += len(request.images)
        self._last = max(1, images)
        return batch

    async def _answer(self, batch: list[Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._thread, self._compute, [request.images for request in batch])
        except Exception as error:
            for request in batch:
                if not request.outputs.done():
                    request.outputs.set_exception(error)
            return
        for request, result in zip(batch, results, strict=True):
            if not request.outputs.done():
                request.outputs.set_result(result)

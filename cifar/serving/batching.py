"""Requests that arrive together are computed as one batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np


class QueueFull(Exception):  # noqa: N818, named as asyncio names its own
    """As many images wait as may wait."""


class Waiting(NamedTuple):
    """Images (n, height, width, channels) of a request, and where its outputs go."""

    images: np.ndarray | list[Any]
    outputs: asyncio.Future


class Batcher:
    """Computes what requests submit, as many together as there are, at most `max_size` images.

    `compute` takes the images of several requests and returns the outputs of each; it runs in a thread of its own, and
    all that arrives meanwhile is the next batch. One that has fewer images than the last is given `max_wait`
    milliseconds to fill up, so that a client that is alone never waits, and many clients stay together.

    It belongs to the event loop in which it is used. When nobody holds it any more, its thread ends.
    """

    def __init__(
        self, compute: Callable[[list[Any]], Sequence[Any]], *, max_size: int, max_wait: float, max_queue: int
    ):
        self._compute, self._max_size, self._max_wait, self._max_queue = compute, max_size, max_wait / 1000, max_queue
        self._thread = ThreadPoolExecutor(1, "batcher")
        self._waiting: deque[Waiting] = deque()
        self._last = 1
        self._filled = asyncio.Event()
        self._running: asyncio.Task | None = None
        self.images = 0

    def submit(self, images: np.ndarray | list[Any]) -> asyncio.Future:
        """The outputs of `images` (n, height, width, channels), `max_size` at most; who cancels them is forgotten.

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
        """Compute until nothing waits."""
        while self._waiting:
            if self.images < self._last and self._max_wait:
                self._filled.clear()
                try:
                    async with asyncio.timeout(self._max_wait):
                        await self._filled.wait()
                except TimeoutError:
                    pass
            batch = self._take()
            if batch:
                await self._answer(batch)
        self._running = None

    def _take(self) -> list[Waiting]:
        """The requests that go together now, without those whose clients have gone."""
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

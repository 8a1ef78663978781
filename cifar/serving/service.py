"""The models of a service, and their predictions for a request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cifar.runtime.errors import did_you_mean
from cifar.serving import decoding, encoding
from cifar.serving.batching import Batcher, QueueFull
from cifar.serving.limits import MAX_NUMBERS, Limits
from cifar.serving.memory import Memory
from cifar.serving.metrics import Metrics
from cifar.serving.turns import Turns
from cifar.serving.workers import Workers

if TYPE_CHECKING:
    from cifar.serving.models import Model

THREADS = 2
VERSION, NEWEST = "1", "0"
"""The version of each model in the protocols that have versions, and what OpenVINO's client calls the newest."""


class Service:
    """Models by name, the first one being the default, with limits and metrics of requests."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.models: dict[str, Model] = {}
        """Empty until the first models are loaded."""
        self.memory = Memory(limits.memory)
        self.metrics = Metrics(lambda: self.models)
        self.is_draining = False
        self.workers = Workers()
        self.turns = Turns()
        self._threads = ThreadPoolExecutor(THREADS, "service")

    def check_ready(self) -> None:
        """Raise `HTTPException` while the models are loading, and during the shutdown."""
        if self.is_draining:
            raise HTTPException(503, "the service is shutting down")
        if not self.models:
            raise HTTPException(503, "the models are loading", {"Retry-After": "1"})

    def model(self, name: str | None, version: str = VERSION) -> Model:
        """Return the model of this name; raises `HTTPException`."""
        if not self.models:
            self.check_ready()
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise HTTPException(404, f"model {name[:100]}: unknown; {did_you_mean(name, self.models)}")
        if version not in (VERSION, NEWEST):
            raise HTTPException(404, f"version {version[:100]}: unknown; known: {VERSION}")
        return self.models[name]

    async def decoded(self, decode: Callable[..., Any], model: Model, content: bytes, *arguments: Any) -> Any:
        """Call a function that decodes a model's input: here if `content` is short, else in a worker.

        Raises `HTTPException`.
        """
        limits = self.limits
        target = decoding.Target(model.preparation, model.task.is_dense, limits.max_batch, limits.max_pixels)
        if len(content) <= decoding.SHORT_BYTES:
            with contextlib.suppress(decoding.Long):
                await self.turns.wait()
                return decode(content, target.here, *arguments)
        return await self.workers.run(decode, content, target, *arguments)

    async def tensors(
        self, model: Model, parse: Callable[..., tuple[Any, np.ndarray]], request: Request, *arguments: Any
    ) -> tuple[Any, dict[str, np.ndarray]]:
        """Return the outputs, by name, for the images that `parse` finds in a request, and what else it finds.

        Raises `HTTPException`.
        """
        found, images = await self.decoded(parse, model, await request.body(), *arguments)
        numbers = len(images) * model.numbers
        if len(images) > 1 and numbers > MAX_NUMBERS:
            raise HTTPException(413, f"the answer would have {numbers} numbers; accepted: {MAX_NUMBERS}, or one image")
        return found, await self.outputs(model.batcher, images, request)

    async def encoded(self, encode: Callable[..., str], outputs: Mapping[str, np.ndarray]) -> str:
        """Encode outputs as JSON, in a thread if there are many."""
        if sum(values.size for values in outputs.values()) <= encoding.PART:
            return encode(outputs)
        return await self.threaded(encode, outputs)

    async def predict(
        self, model: Model, content: bytes, request: Request, max_side: int | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the pixels of the photo in a file and the model's predictions as a batch of one.

        For dense prediction, predictions are in pixels of the whole photo. With `max_side`, it is scaled down to at
        most as many pixels a side, and its pixels are returned; otherwise the model's input is. Raises `HTTPException`.
        """
        photo, drawn = await self.decoded(decoding.photo, model, content, max_side)
        outputs = await self.outputs(model.batcher, photo.image[None], request)
        predictions = model.task.of_exported(outputs)
        if model.task.is_dense:
            predictions = await self.threaded(photo.located, predictions)
        return drawn, predictions

    def threaded(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future:
        """Run `function` in a thread for answers and pictures."""
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def outputs(self, batcher: Batcher, batch: np.ndarray | list[Any], request: Request) -> Any:
        """Compute outputs; raises `HTTPException`, and `ClientDisconnect` if the client disconnects."""
        try:
            outputs = batcher.submit(batch)
        except QueueFull:
            raise HTTPException(503, "too many waiting images", {"Retry-After": "1"}) from None
        disconnect = asyncio.ensure_future(request.receive())  # the body has been read: nothing else can arrive
        disconnect.add_done_callback(lambda _: outputs.cancel())
        try:
            return await outputs
        except asyncio.CancelledError:
            if disconnect.done():
                raise ClientDisconnect from None
            raise
        finally:
            disconnect.cancel()
            outputs.cancel()


def check_type(request: Request, accepted: Sequence[str]) -> str:
    """Return the content type of a request; raises `HTTPException` unless it is `accepted`."""
    kind = request.headers.get("content-type", accepted[0]).partition(";")[0].strip().lower()
    if kind not in accepted:
        raise HTTPException(415, f"content-type {kind[:100]}: accepted: {', '.join(accepted)}")
    return kind


def version_of(request: Request) -> str:
    """Return the version in the path of a request."""
    version: str = request.path_params.get("version", VERSION)
    return version

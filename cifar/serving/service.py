"""The models of a service, and what they compute for a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cifar.images import io
from cifar.runtime.errors import InputError, did_you_mean
from cifar.serving import decoding
from cifar.serving.batching import Batcher, QueueFull
from cifar.serving.limits import Limits
from cifar.serving.metrics import Metrics

if TYPE_CHECKING:
    from cifar.serving.models import Model

AT_ONCE = 2**16
"""Pixels that are decoded in the event loop; more are decoded in a thread, so that other requests go on."""
DECODERS = 2


class Service:
    """The models by name, the first of them the default, with the limits and metrics of their requests."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.models: dict[str, Model] = {}
        self.metrics = Metrics(lambda: self.models)
        self.is_draining = False
        self._decoders = ThreadPoolExecutor(DECODERS, "decoder")

    def model(self, name: str | None) -> Model:
        """The model of this name; raises `HTTPException`."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise HTTPException(404, f"model {name[:100]}: unknown; {did_you_mean(name, self.models)}")
        return self.models[name]

    async def decoded(
        self, contents: Sequence[bytes], shape: decoding.Shape, read: Callable[..., Any] = io.fit_image
    ) -> list[Any]:
        """What `read` makes, for a model's `shape`, of the images in PNG and JPEG files; raises `HTTPException`."""
        opened = decoding.opened(contents, self.limits.max_pixels)

        def fitted(number: int) -> Any:
            return read(opened[number], shape, f"image {number}")

        try:
            if sum(image.width * image.height for image in opened) <= AT_ONCE:
                return [fitted(number) for number in range(len(opened))]
            return await asyncio.gather(*(self.threaded(fitted, number) for number in range(len(opened))))
        except InputError as error:
            raise HTTPException(422, str(error)) from None

    async def predict(
        self, model: Model, content: bytes, request: Request, max_side: int | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The image in a file, and the model's predictions for it as a batch of one; raises `HTTPException`.

        Where the task is one of dense prediction, they are in pixels of the whole image, which is scaled down to at
        most `max_side` pixels a side; else the image is the model's input.
        """
        shape = model.image_shape
        if model.task.is_dense:
            ((image, seen, position),) = await self.decoded([content], shape, partial(io.letterbox, max_side=max_side))
            outputs = await self.outputs(model.batcher, seen[None], request)
            return image, position.to_photo(model.task.predictions(outputs))
        (image,) = await self.decoded([content], shape)
        return image, model.task.predictions(await self.outputs(model.batcher, image[None], request))

    def threaded(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future:
        """What `function` returns, from a thread that decodes and draws while other requests go on."""
        return asyncio.get_running_loop().run_in_executor(self._decoders, function, *arguments)

    async def outputs(self, batcher: Batcher, batch: np.ndarray | list[Any], request: Request) -> Any:
        """The outputs for these images; raises `HTTPException`, and `ClientDisconnect` where the client goes away."""
        try:
            outputs = batcher.submit(batch)
        except QueueFull:
            raise HTTPException(503, "too many images are waiting", {"Retry-After": "1"}) from None
        gone = asyncio.ensure_future(request.receive())  # the body has been read: nothing else comes
        try:
            await asyncio.wait((outputs, gone), return_when=asyncio.FIRST_COMPLETED)
            if not outputs.done():
                raise ClientDisconnect
            return outputs.result()
        finally:
            gone.cancel()
            outputs.cancel()

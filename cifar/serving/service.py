"""The models of a service, and their predictions for a request."""

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

MAX_LOOP_PIXELS = 2**16
"""Maximum number of pixels decoded in the event loop; more are decoded in a thread, so as not to block it."""
DECODERS = 2


class Service:
    """Models by name, the first one being the default, with limits and metrics of requests."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.models: dict[str, Model] = {}
        self.metrics = Metrics(lambda: self.models)
        self.is_draining = False
        self._decoders = ThreadPoolExecutor(DECODERS, "decoder")

    def model(self, name: str | None) -> Model:
        """Return the model of this name; raises `HTTPException`."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise HTTPException(404, f"model {name[:100]}: unknown; {did_you_mean(name, self.models)}")
        return self.models[name]

    async def decoded(
        self, contents: Sequence[bytes], shape: decoding.Shape, read: Callable[..., Any] = io.fit_image
    ) -> list[Any]:
        """Decode PNG and JPEG files by `read` for a model's `shape`; raises `HTTPException`."""
        opened = decoding.opened(contents, self.limits.max_pixels)

        def fitted(number: int) -> Any:
            return read(opened[number], shape, f"image {number}")

        try:
            if sum(image.width * image.height for image in opened) <= MAX_LOOP_PIXELS:
                return [fitted(number) for number in range(len(opened))]
            return await asyncio.gather(*(self.threaded(fitted, number) for number in range(len(opened))))
        except InputError as error:
            raise HTTPException(422, str(error)) from None

    async def predict(
        self, model: Model, content: bytes, request: Request, max_side: int | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the image in a file and the model's predictions as a batch of one; raises `HTTPException`.

        For dense prediction, they are in pixels of the whole image, which is scaled down to at most `max_side` pixels a
        side; otherwise the image is the model's input.
        """
        shape = model.image_shape
        if model.task.is_dense:
            ((image, model_input, position),) = await self.decoded(
                [content], shape, partial(io.letterbox, max_side=max_side)
            )
            outputs = await self.outputs(model.batcher, model_input[None], request)
            return image, position.to_photo(model.task.predictions(outputs))
        (image,) = await self.decoded([content], shape)
        return image, model.task.predictions(await self.outputs(model.batcher, image[None], request))

    def threaded(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future:
        """Run `function` in a thread for decoding and drawing."""
        return asyncio.get_running_loop().run_in_executor(self._decoders, function, *arguments)

    async def outputs(self, batcher: Batcher, batch: np.ndarray | list[Any], request: Request) -> Any:
        """Compute outputs; raises `HTTPException`, and `ClientDisconnect` if the client disconnects."""
        try:
            outputs = batcher.submit(batch)
        except QueueFull:
            raise HTTPException(503, "too many waiting images", {"Retry-After": "1"}) from None
        disconnect = asyncio.ensure_future(request.receive())  # the body has been read: nothing else can arrive
        try:
            await asyncio.wait((outputs, disconnect), return_when=asyncio.FIRST_COMPLETED)
            if not outputs.done():
                raise ClientDisconnect
            return outputs.result()
        finally:
            disconnect.cancel()
            outputs.cancel()

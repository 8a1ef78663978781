"""The models of a service, and their predictions for a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cifar.images import photos
from cifar.images.photos import Photo
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

    async def photos(self, model: Model, contents: Sequence[bytes], max_side: int | None = None) -> list[Photo]:
        """Decode PNG and JPEG files for a model; raises `HTTPException`."""
        opened = decoding.opened(contents, self.limits.max_pixels)

        def prepared(number: int) -> Photo:
            return photos.prepare(opened[number], model.image_shape, model.task.is_dense, f"image {number}", max_side)

        try:
            if sum(image.width * image.height for image in opened) <= MAX_LOOP_PIXELS:
                return [prepared(number) for number in range(len(opened))]
            return await asyncio.gather(*(self.threaded(prepared, number) for number in range(len(opened))))
        except InputError as error:
            raise HTTPException(422, str(error)) from None

    async def predict(
        self, model: Model, content: bytes, request: Request, max_side: int | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the pixels of the photo in a file and the model's predictions as a batch of one.

        For dense prediction, they are in pixels of the whole photo, which is scaled down to at most `max_side` pixels a
        side; otherwise the pixels are the model's input. Raises `HTTPException`.
        """
        (photo,) = await self.photos(model, [content], max_side)
        outputs = await self.outputs(model.batcher, photo.image[None], request)
        return photo.pixels, await self.threaded(lambda: photo.located(model.task.predictions(outputs)))

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

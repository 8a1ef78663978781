"""What the service answers at which address."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cifar import drawing, images
from cifar.errors import InputError, known
from cifar.serving import decoding, description, page
from cifar.serving.batching import Batcher, Full
from cifar.serving.limits import Limits
from cifar.serving.metrics import Metrics

if TYPE_CHECKING:
    from cifar.serving.models import Model

AT_ONCE = 2**16
"""Pixels that are decoded where they are; more are decoded in a thread, so that other requests go on."""
DECODERS = 2
DRAWN = 768
"""Pixels of the longer side of an image that is drawn on."""


class Service:
    """The models by name, the first of them the one that is meant where none is named, and what they are told of."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.models: dict[str, Model] = {}
        self.metrics = Metrics(lambda: self.models)
        self.is_ending = False
        self._decoders = ThreadPoolExecutor(DECODERS, "decoder")

    def model(self, name: str | None) -> Model:
        """The model of this name; raises `HTTPException`."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise HTTPException(404, f"model {name[:100]}: unknown; {known(name, self.models)}")
        return self.models[name]

    async def decoded(
        self, contents: Sequence[bytes], shape: decoding.Shape, read: Callable[..., Any] = images.fitted
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

    async def found(
        self, model: Model, content: bytes, request: Request, most: int | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The image in a file, and what the model says of it, as a batch of one; raises `HTTPException`.

        Where the task speaks of places, they are pixels of the whole image, which is made to fit `most` pixels a side;
        else the image is what the model sees of it.
        """
        shape = model.image_shape
        if model.task.by_place:
            ((image, seen, frame),) = await self.decoded([content], shape, partial(images.framed, most=most))
            outputs = await self.outputs(model.batcher, seen[None], request)
            return image, frame.in_photo(model.task.predictions(outputs))
        (image,) = await self.decoded([content], shape)
        return image, model.task.predictions(await self.outputs(model.batcher, image[None], request))

    def threaded(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future:
        """What `function` returns, from a thread that decodes and draws while other requests go on."""
        return asyncio.get_running_loop().run_in_executor(self._decoders, function, *arguments)

    async def outputs(self, batcher: Batcher, batch: Sequence[Any], request: Request) -> Any:
        """What is computed for these images, unless the client goes away; raises `HTTPException`."""
        try:
            outputs = batcher.submit(batch)
        except Full:
            raise HTTPException(503, "too many images are waiting", {"Retry-After": "1"}) from None
        gone = asyncio.ensure_future(request.receive())  # whose body has been read: nothing else comes
        try:
            await asyncio.wait((outputs, gone), return_when=asyncio.FIRST_COMPLETED)
            if not outputs.done():
                raise ClientDisconnect
            return outputs.result()
        finally:
            gone.cancel()
            outputs.cancel()


def build(service: Service) -> FastAPI:
    """The application, without what `Guard` adds."""
    app = FastAPI(
        title="cifar",
        description=description.INTRODUCTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _refused, RequestValidationError: _invalid, Exception: _failed},
    )

    @app.get("/livez", **description.of("Whether the process works", {200: "alive"}))
    async def livez() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get("/readyz", **description.of("Whether requests should be sent here", {200: "ready", 503: "ending"}))
    async def readyz() -> Response:
        if service.is_ending:
            raise HTTPException(503, "the service is ending")
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", **description.of("Figures for Prometheus", {200: "figures"}, "text/plain"))
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    @app.get("/v1/models", **description.of("The models, and the runs behind them", {200: "the models"}))
    async def models() -> Response:
        return JSONResponse({"models": [_about(model) for model in service.models.values()]})

    # Before the next, whose name would take the end of this address too.
    @app.post("/v1/models/{name}:predict", **description.PREDICT_ROWS)
    async def predict_rows(name: str, request: Request) -> Response:
        model = service.model(name)
        _check_type(request, description.JSON_TYPES)
        form, values = decoding.given(decoding.document(await request.body()))
        if len(values) > service.limits.max_batch:
            raise HTTPException(413, f"{form}: {len(values)} images; accepted: {service.limits.max_batch}")
        contents = decoding.files(values)
        if contents is None:
            batch = decoding.pixels(values, model.image_shape)
        else:
            batch = np.stack(await service.decoded(contents, model.image_shape))
        columns = model.columns(await service.outputs(model.batcher, batch, request))
        if form == "inputs":
            return JSONResponse({"outputs": columns})
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return JSONResponse({"predictions": rows})

    @app.get("/v1/models/{name}", **description.of("A model's state, as TensorFlow Serving tells it",
                                                   {200: "the state", "4XX": "unknown model"}))  # fmt: skip
    async def state(name: str) -> Response:
        service.model(name)
        status = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return JSONResponse({"model_version_status": [status]})

    @app.post("/predict", **description.PREDICT_FILE)
    async def predict_file(request: Request, model: str | None = None) -> Response:
        chosen = service.model(model)
        _, found = await service.found(chosen, await _upload(request), request)
        (answer,) = await service.threaded(chosen.task.decode, found)
        return JSONResponse({"model": chosen.name, "run": chosen.run.id, "answer": answer})

    @app.post("/explain", **description.EXPLAIN)
    async def explain(
        request: Request, model: str | None = None, class_name: Annotated[str | None, Query(alias="class")] = None
    ) -> Response:
        chosen = service.model(model)
        image, found = await service.found(chosen, await _upload(request), request, most=DRAWN)
        about = {"model": chosen.name, "run": chosen.run.id}
        if chosen.task.by_place:
            drawn = partial(chosen.task.draw, image, {name: values[0] for name, values in found.items()})
        else:
            k = _class(class_name, chosen) if class_name is not None else int(found["probabilities"][0].argmax())
            (heat,) = await service.outputs(chosen.explainer, [(image, k)], request)
            about |= {"class": chosen.class_names[k], "heat": heat.round(4).tolist()}
            drawn = partial(drawing.heat_on, image, heat)
        picture = await service.threaded(lambda: base64.b64encode(images.png(drawn())).decode())
        return JSONResponse({**about, "picture": {"b64": picture}})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(description.page(app.openapi()))

    page.mount(app, service)
    return app


def _class(name: str, model: Model) -> int:
    """The number of a class; raises `HTTPException`."""
    if name not in model.class_names:
        raise HTTPException(422, f"class {name[:100]}: unknown; {known(name, model.class_names)}")
    return model.class_names.index(name)


async def _upload(request: Request) -> bytes:
    """The file that a request is, or that its form has as `image`; raises `HTTPException`."""
    kind = _check_type(request, description.UPLOAD_TYPES)
    if kind != "multipart/form-data":
        return await request.body()
    async with request.form(max_files=1, max_fields=1) as form:
        file = form.get("image")
        if not isinstance(file, UploadFile):
            raise HTTPException(400, "the form should have a file called image")
        return await file.read()


def _check_type(request: Request, accepted: Sequence[str]) -> str:
    """The content type of a request; raises `HTTPException` where it is not among those `accepted`."""
    kind = request.headers.get("content-type", accepted[0]).partition(";")[0].strip().lower()
    if kind not in accepted:
        raise HTTPException(415, f"content-type {kind[:100]}: accepted: {', '.join(accepted)}")
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise HTTPException(415, f"content-encoding {coding[:100]}: accepted: none")
    return kind


def _about(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "run": model.run.id,
        "run_name": model.run.name,
        "experiment": model.run.experiment,
        "task": model.task_name,
        "class_names": model.class_names,
        "image_shape": model.image_shape,
        "metrics": model.run.metrics,
    }


async def _refused(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    return JSONResponse({"error": "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())}, 422)


async def _failed(request: Request, error: Exception) -> Response:
    """The answer to what should not happen; the traceback goes to stderr."""
    return JSONResponse({"error": "internal error"}, 500)

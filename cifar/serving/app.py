"""The routes of the service."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from cifar.images import io, overlay
from cifar.runtime.errors import did_you_mean
from cifar.serving import decoding, page, schemas
from cifar.serving.service import Service

if TYPE_CHECKING:
    from cifar.serving.models import Model

DRAWN = 768
"""Maximum side in pixels of the picture of an answer."""
INTRODUCTION = (
    "Models of finished runs. `/predict` takes an image file and returns a decoded answer; `/v1/models/NAME:predict` "
    "has the REST API of TensorFlow Serving for the exported SavedModel. `/v1/models` lists the models."
)


def build(service: Service) -> FastAPI:
    """Build the application, without `RequestMiddleware`."""
    app = FastAPI(
        title="cifar",
        description=INTRODUCTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=schemas.DEFAULT_ERROR,
        exception_handlers={HTTPException: _refused, RequestValidationError: _invalid, Exception: _failed},
    )

    @app.get("/livez", summary="Liveness of the process", response_description="alive",
             response_model=schemas.Status)  # fmt: skip
    async def livez() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get("/readyz", summary="Readiness for requests", response_description="ready",
             response_model=schemas.Status, responses=schemas.errors(503))  # fmt: skip
    async def readyz() -> Response:
        if service.is_draining:
            raise HTTPException(503, "the service is shutting down")
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="Metrics for Prometheus", response_description="metrics",
             response_class=PlainTextResponse)  # fmt: skip
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    @app.get("/v1/models", summary="The models and their runs", response_description="the models",
             response_model=schemas.Models)  # fmt: skip
    async def models() -> Response:
        return JSONResponse({"models": [_about(model) for model in service.models.values()]})

    # Registered before the next route, which would also match this address.
    @app.post(
        "/v1/models/{name}:predict", summary="Predictions in TensorFlow Serving's format",
        response_model=schemas.Predictions | schemas.Outputs, responses=schemas.errors(),
        response_description="`predictions` in rows for `instances`, `outputs` in columns for `inputs`",
        openapi_extra=schemas.PREDICT_BODY,
    )  # fmt: skip
    async def predict_rows(name: str, request: Request) -> Response:
        model = service.model(name)
        _check_type(request, schemas.JSON_TYPES)
        form, values = decoding.given(decoding.document(await request.body()))
        if len(values) > service.limits.max_batch:
            raise HTTPException(413, f"{form}: {len(values)} images; accepted: {service.limits.max_batch}")
        contents = decoding.files(values)
        if contents is None:
            batch = decoding.pixels(values, model.image_shape)
        else:
            batch = np.stack([photo.image for photo in await service.photos(model, contents)])
        columns = model.columns(await service.outputs(model.batcher, batch, request))
        if form == "inputs":
            return JSONResponse({"outputs": columns})
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return JSONResponse({"predictions": rows})

    @app.get(
        "/v1/models/{name}", summary="A model's state in TensorFlow Serving's format",
        response_model=schemas.ModelState, responses=schemas.errors(404), response_description="the state",
    )  # fmt: skip
    async def state(name: str) -> Response:
        service.model(name)
        status = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return JSONResponse({"model_version_status": [status]})

    @app.post(
        "/predict", summary="A model's answer to an image file", response_model=schemas.Answer,
        response_description="the answer of the model's task",
        responses=schemas.errors(), openapi_extra=schemas.UPLOAD_BODY,
    )  # fmt: skip
    async def predict_file(request: Request, model: str | None = None) -> Response:
        chosen = service.model(model)
        _, predictions = await service.predict(chosen, await _upload(request), request)
        (answer,) = await service.threaded(chosen.task.decode, predictions)
        return JSONResponse({"model": chosen.name, "run": chosen.run.id, "answer": answer})

    @app.post(
        "/explain", summary="A picture of the answer: boxes, masks, or a heat map of a class",
        response_model=schemas.Explanation, responses=schemas.errors(), openapi_extra=schemas.UPLOAD_BODY,
        response_description="`picture`, a PNG file in base64; for a classifier also `class`, by default the most "
        "probable one, and `heat`, its Grad-CAM heat map from 0 to 1",
    )  # fmt: skip
    async def explain(
        request: Request, model: str | None = None, class_name: Annotated[str | None, Query(alias="class")] = None
    ) -> Response:
        chosen = service.model(model)
        image, predictions = await service.predict(chosen, await _upload(request), request, max_side=DRAWN)
        about = {"model": chosen.name, "run": chosen.run.id}
        if chosen.task.is_dense:
            drawn = partial(chosen.task.draw, image, {name: values[0] for name, values in predictions.items()})
        elif not chosen.task.explains_classes:
            raise HTTPException(422, f"model {chosen.name}: its task has neither classes nor positions to show")
        else:
            k = _class(class_name, chosen) if class_name is not None else int(predictions["probabilities"][0].argmax())
            (heat,) = await service.outputs(chosen.explainer, [(image, k)], request)
            about |= {"class": chosen.class_names[k], "heat": heat.round(4).tolist()}
            drawn = partial(overlay.draw_heatmap, image, heat)
        picture = await service.threaded(lambda: base64.b64encode(io.encode_png(drawn())).decode())
        return JSONResponse({**about, "picture": {"b64": picture}})

    page.mount(app, service)
    return app


def _class(name: str, model: Model) -> int:
    """Return the index of a class; raises `HTTPException`."""
    if name not in model.class_names:
        raise HTTPException(422, f"class {name[:100]}: unknown; {did_you_mean(name, model.class_names)}")
    return model.class_names.index(name)


async def _upload(request: Request) -> bytes:
    """Return the request's body, or the file `image` of its form; raises `HTTPException`."""
    kind = _check_type(request, schemas.UPLOAD_TYPES)
    if kind != "multipart/form-data":
        return await request.body()
    async with request.form(max_files=1, max_fields=1) as form:
        file = form.get("image")
        if not isinstance(file, UploadFile):
            raise HTTPException(400, "the form should have a file named image")
        return await file.read()


def _check_type(request: Request, accepted: Sequence[str]) -> str:
    """Return the content type of a request; raises `HTTPException` unless it is `accepted`."""
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
    """Answer an unexpected exception; the traceback goes to stderr."""
    return JSONResponse({"error": "internal error"}, 500)

"""The routes of the service."""

from __future__ import annotations

import base64
import math
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

import cifar
from cifar.images import io, overlay
from cifar.runtime.errors import did_you_mean
from cifar.serving import mlflow_scoring, open_inference, openapi, page, schemas, tensorflow_serving
from cifar.serving.bodies import Accepted
from cifar.serving.service import Service, check_type

if TYPE_CHECKING:
    from cifar.serving.models import Model

DRAWN = 768
"""Maximum side in pixels of the picture of an answer."""
INTRODUCTION = (
    "Models of finished runs. `/predict` takes an image file and returns a decoded answer; `/v1/models` lists the "
    "models. `/v1/models/NAME:predict` has the REST API of TensorFlow Serving, `/v2` the Open Inference Protocol of "
    "KServe, and `/invocations` that of `mlflow models serve`. Bodies may be packed by gzip."
)


class Application(FastAPI):
    """FastAPI with a description of the bodies that the current models take, and of the token that requests need."""

    def __init__(self, service: Service, needs_token: bool, **more: Any):
        super().__init__(**more)
        self._service, self._needs_token = service, needs_token
        self._accepted: Accepted | None = None
        """What the document was made for."""

    def openapi(self) -> dict[str, Any]:
        models = self._service.models.values()
        shapes, outputs = {model.image_shape for model in models}, {name for model in models for name in model.outputs}
        accepted = Accepted(tuple(sorted(shapes)), tuple(sorted(outputs)), self._service.limits.max_batch)
        if not self.openapi_schema or accepted != self._accepted:
            self.openapi_schema, self._accepted = None, accepted
            self.openapi_schema = openapi.completed(super().openapi(), self._needs_token, accepted)
        return self.openapi_schema


def build(service: Service, needs_token: bool = False) -> FastAPI:
    """Build the application, without `RequestMiddleware`."""
    app = Application(
        service,
        needs_token,
        title="cifar",
        version=cifar.__version__,
        description=INTRODUCTION,
        servers=[{"url": "/"}],
        openapi_url=None,  # `page` has routes of its own
        redirect_slashes=False,
        responses=openapi.DEFAULT_ERROR,
        exception_handlers={HTTPException: _refused, RequestValidationError: _invalid, Exception: _failed},
    )

    @app.post(
        "/predict", summary="A model's answer to an image file", response_model=schemas.Answer,
        response_description="the answer of the model's task",
        responses=openapi.errors(),
    )  # fmt: skip
    async def predict_file(request: Request, model: str | None = None) -> Response:
        chosen = service.model(model)
        _, predictions = await service.predict(chosen, await _upload(request), request)
        (answer,) = await service.threaded(chosen.task.decode, predictions)
        return JSONResponse({"model": chosen.name, "run": chosen.run.id, "answer": answer})

    @app.post(
        "/explain", summary="A picture of the answer: boxes, masks, or a heat map of a class",
        response_model=schemas.Explanation, responses=openapi.errors(),
        response_description="`picture`, a PNG file in base64; for a classifier also `class`, by default the most "
        "probable one, and `heat`, its Grad-CAM heat map, where 1 is the strongest of the most probable class",
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

    for protocol in (tensorflow_serving, open_inference, mlflow_scoring):
        protocol.mount(app, service)

    @app.get("/livez", summary="Liveness of the process", response_description="alive",
             response_model=schemas.Status)  # fmt: skip
    async def livez() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get("/readyz", summary="Readiness for requests", response_description="ready",
             response_model=schemas.Status, responses=openapi.errors(503))  # fmt: skip
    async def readyz() -> Response:
        service.check_ready()
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="Metrics for Prometheus", response_description="metrics",
             response_class=PlainTextResponse)  # fmt: skip
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    @app.get("/v1/models", summary="The models and their runs", response_description="the models",
             response_model=schemas.Models, responses=openapi.errors(503))  # fmt: skip
    async def models() -> Response:
        service.model(None)
        return JSONResponse({"models": [_about(model) for model in service.models.values()]})

    page.mount(app, service)
    return app


def _class(name: str, model: Model) -> int:
    """Return the index of a class; raises `HTTPException`."""
    if name not in model.class_names:
        raise HTTPException(404, f"class {name[:100]}: unknown; {did_you_mean(name, model.class_names)}")
    return model.class_names.index(name)


async def _upload(request: Request) -> bytes:
    """Return the request's body, or the file `image` of its form; raises `HTTPException`."""
    kind = check_type(request, schemas.UPLOAD_TYPES)
    if kind != "multipart/form-data":
        return await request.body()
    async with request.form(max_files=1, max_fields=1) as form:
        file = form.get("image")
        if len(form) != 1 or not isinstance(file, UploadFile):
            raise HTTPException(400, "the form should have a file named image")
        return await file.read()


def _about(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "run": model.run.id,
        "run_name": model.run.name,
        "experiment": model.run.experiment,
        "task": model.task_name,
        "class_names": model.class_names,
        "image_shape": model.image_shape,
        "main_metric": model.task.main_metric,
        "metrics": {name: value if math.isfinite(value) else None for name, value in model.run.metrics.items()},
    }


async def _refused(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    return JSONResponse({"error": "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())}, 422)


async def _failed(request: Request, error: Exception) -> Response:
    """Answer an unexpected exception; the traceback goes to stderr."""
    return JSONResponse({"error": "internal error"}, 500)

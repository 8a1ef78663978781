"""The REST API of `mlflow models serve`: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally."""

from __future__ import annotations

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from cifar.serving import decoding, encoding, openapi, schemas
from cifar.serving.service import Service, check_type
from cifar.serving.tensorflow_serving import images_in


def mount(app: FastAPI, service: Service) -> None:
    """Add the routes of the protocol."""

    @app.get("/ping", summary="Readiness for requests", tags=["MLflow"], response_class=PlainTextResponse,
             responses=openapi.errors(503), response_description="ready")  # fmt: skip
    async def ping() -> Response:
        service.check_ready()
        return PlainTextResponse("\n")

    @app.post(
        "/invocations", summary="Predictions in MLflow's format", tags=["MLflow"], response_model=schemas.Predictions,
        responses=openapi.errors(), response_description="the predictions",
    )  # fmt: skip
    async def invocations(request: Request, model: str | None = None) -> Response:
        chosen = service.model(model)
        check_type(request, ("application/json",))
        _, outputs = await service.tensors(chosen, parse, request)
        content = await service.encoded(encoding.columns, outputs)
        return Response(f'{{"predictions":{content}}}', media_type="application/json")


def parse(body: bytes, target: decoding.Target) -> tuple[str, np.ndarray]:
    """Return the format of a request, and its images; raises `HTTPException`."""
    refusal = "the body should have either inputs or instances; data frames are no images"
    return images_in(decoding.document(body), target, refusal)

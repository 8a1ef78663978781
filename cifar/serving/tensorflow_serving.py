"""TensorFlow Serving's REST API (https://www.tensorflow.org/tfx/serving/api_rest): predict, status, metadata."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from cifar.serving import decoding, encoding, openapi, schemas
from cifar.serving.routes import ModelRoute
from cifar.serving.service import VERSION, Service, check_type, version_of

if TYPE_CHECKING:
    from cifar.serving.models import Model

SIGNATURES = {"serving_default": "image", "serving_bytes": "image_bytes"}
"""The signatures of an exported SavedModel, with the names of their inputs."""
DTYPES = {"float32": "DT_FLOAT", "int32": "DT_INT32", "int64": "DT_INT64", "uint8": "DT_UINT8"}


def mount(app: FastAPI, service: Service) -> None:
    """Add the routes of the protocol. A router of its own would match the address of each request twice."""
    add = partial(app.router.add_api_route, tags=["TensorFlow Serving"], route_class_override=ModelRoute)

    async def predict(name: str, request: Request) -> Response:
        model = service.model(name, version_of(request))
        check_type(request, schemas.JSON_TYPES)
        form, outputs = await service.tensors(model, parse, request)
        if form == "inputs":
            return _json(f'{{"outputs":{await service.encoded(encoding.columns, outputs)}}}')
        return _json(f'{{"predictions":{await service.encoded(encoding.rows, outputs)}}}')

    async def state(name: str, request: Request) -> Response:
        service.model(name, version_of(request))
        status = {"version": VERSION, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return JSONResponse({"model_version_status": [status]})

    async def metadata(name: str, request: Request) -> Response:
        return JSONResponse(_metadata(service.model(name, version_of(request))))

    for path in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
        is_described = "{version}" not in path
        # This one comes first, since the next would also match its address.
        add(
            f"{path}:predict", predict, methods=["POST"], summary="Predictions in TensorFlow Serving's format",
            response_model=schemas.Predictions | schemas.Outputs, responses=openapi.errors(),
            response_description="`predictions` in rows for `instances`, `outputs` in columns for `inputs`",
            include_in_schema=is_described,
        )  # fmt: skip
        add(
            path, state, summary="A model's state in TensorFlow Serving's format", response_description="the state",
            response_model=schemas.ModelState, responses=openapi.errors(404, 503), include_in_schema=is_described,
        )  # fmt: skip
        add(
            f"{path}/metadata", metadata, summary="A model's signatures in TensorFlow Serving's format",
            response_model=schemas.Metadata, responses=openapi.errors(404, 503), response_description="the signatures",
            include_in_schema=is_described,
        )  # fmt: skip


def parse(body: bytes, target: decoding.Target) -> tuple[str, np.ndarray]:
    """Return the format of a request, `instances` or `inputs`, and its images; raises `HTTPException`."""
    return images_in(decoding.document(body), target, "the body should have either instances or inputs")


def images_in(content: dict[str, Any], target: decoding.Target, refusal: str) -> tuple[str, np.ndarray]:
    """Return the format of a request, `instances` or `inputs`, and its images.

    Raises `HTTPException`, with the text `refusal` unless `content` has one of them.
    """
    signature = content.get("signature_name", "")
    if not isinstance(signature, str) or (signature and signature not in SIGNATURES):
        raise HTTPException(400, f"signature_name: unknown; known: {', '.join(SIGNATURES)}")
    forms = [form for form in ("instances", "inputs") if form in content]
    if len(forms) != 1:
        raise HTTPException(400, refusal)
    (form,) = forms
    return form, decoding.images(_image_values(content, form), target, form)


def _image_values(content: dict[str, Any], form: str) -> list[Any]:
    """Return one value per image of `instances` or `inputs`, whose inputs may be named; raises `HTTPException`."""
    values = content[form]
    if form == "inputs":
        values = _unnamed(values)
    if not isinstance(values, list):
        raise HTTPException(422, f"{form}: should be a list with one entry for each image")
    return [_unnamed(value) for value in values] if form == "instances" else values


def _unnamed(value: Any) -> Any:
    """Unwrap the value of an input given by its name."""
    if isinstance(value, dict) and len(value) == 1:
        (name,) = value
        return value[name] if name in SIGNATURES.values() else value
    return value


def _json(content: str) -> Response:
    return Response(content, media_type="application/json")


def _metadata(model: Model) -> dict[str, Any]:
    """Return the signatures of the exported SavedModel."""
    outputs = {name: _tensor(name, DTYPES[dtype], shape) for name, (dtype, shape) in model.outputs.items()}
    inputs = {"serving_default": ("DT_UINT8", (None, *model.image_shape)), "serving_bytes": ("DT_STRING", (None,))}
    signatures = {
        signature: {"inputs": {SIGNATURES[signature]: _tensor(SIGNATURES[signature], *tensor)}, "outputs": outputs,
                    "method_name": "tensorflow/serving/predict"}
        for signature, tensor in inputs.items()
    }  # fmt: skip
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": VERSION},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _tensor(name: str, dtype: str, shape: tuple[int | None, ...]) -> dict[str, Any]:
    sizes = [{"size": str(-1 if size is None else size), "name": ""} for size in shape]
    return {"dtype": dtype, "tensor_shape": {"dim": sizes, "unknown_rank": False}, "name": name}

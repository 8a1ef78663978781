"""The Open Inference Protocol, version 2, of KServe, Triton and others, with its extension for binary tensors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

import cifar
from cifar.serving import decoding, encoding, openapi, schemas
from cifar.serving.routes import ModelRoute
from cifar.serving.service import VERSION, Service, check_type, version_of

if TYPE_CHECKING:
    from cifar.serving.models import Model

DTYPES = {"float32": "FP32", "int32": "INT32", "int64": "INT64", "uint8": "UINT8"}
JSON_SIZE = "inference-header-content-length"
"""The header with the number of bytes of JSON, after which binary tensors follow."""


class Asked(NamedTuple):
    """What a request wants to have back."""

    id: str | None
    outputs: list[str] | None


def mount(app: FastAPI, service: Service) -> None:
    """Add the routes of the protocol."""
    add = partial(app.router.add_api_route, tags=["Open Inference Protocol"])

    async def server() -> Response:
        return JSONResponse({"name": "cifar", "version": cifar.__version__, "extensions": ["binary_tensor_data"]})

    async def live() -> Response:
        return JSONResponse({"live": True})

    async def ready() -> Response:
        service.check_ready()
        return JSONResponse({"ready": True})

    async def about(name: str, request: Request) -> Response:
        return JSONResponse(_metadata(service.model(name, version_of(request))))

    async def model_ready(name: str, request: Request) -> Response:
        service.check_ready()
        return JSONResponse({"name": service.model(name, version_of(request)).name, "ready": True})

    async def infer(name: str, request: Request) -> Response:
        model = service.model(name, version_of(request))
        check_type(request, ("application/json", "application/octet-stream"))
        size = request.headers.get(JSON_SIZE)
        if size is not None and not re.fullmatch("[0-9]{1,9}", size):
            raise HTTPException(400, f"{JSON_SIZE}: should be a number of bytes")
        asked, outputs = await service.tensors(model, parse, request, int(size) if size else None)
        chosen = _chosen(outputs, asked.outputs)
        head = {"model_name": model.name, "model_version": VERSION} | ({"id": asked.id} if asked.id else {})
        tensors = await service.encoded(_tensors, chosen)
        return Response(f'{json.dumps(head)[:-1]}, "outputs": {tensors}}}', media_type="application/json")

    add("/v2", server, summary="The server", response_model=schemas.Server, response_description="the server")
    add("/v2/health/live", live, summary="Liveness of the process", response_model=schemas.Live,
        response_description="alive")  # fmt: skip
    add("/v2/health/ready", ready, summary="Readiness for requests", response_model=schemas.Ready,
        responses=openapi.errors(503), response_description="ready")  # fmt: skip
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        is_described = "{version}" not in path
        add(
            path, about, summary="A model's inputs and outputs", response_model=schemas.Model,
            responses=openapi.errors(404, 503), response_description="the inputs and outputs",
            include_in_schema=is_described,
        )  # fmt: skip
        add(
            f"{path}/ready", model_ready, summary="Readiness of a model", response_model=schemas.Ready,
            responses=openapi.errors(404, 503), response_description="ready", include_in_schema=is_described,
        )  # fmt: skip
        add(
            f"{path}/infer", infer, methods=["POST"], route_class_override=ModelRoute, summary="A model's outputs",
            response_model=schemas.Inferred,
            responses=openapi.errors(), response_description="the outputs",
            include_in_schema=is_described,
        )  # fmt: skip


def parse(body: bytes, target: decoding.Target, json_size: int | None) -> tuple[Asked, np.ndarray]:
    """Return what a request asks for, and its images; raises `HTTPException`."""
    content = decoding.document(body if json_size is None else body[:json_size])
    inputs, outputs = content.get("inputs"), content.get("outputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise HTTPException(400, "inputs: should be a list of one tensor")
    if outputs is not None and not (isinstance(outputs, list) and all(isinstance(output, dict) for output in outputs)):
        raise HTTPException(400, "outputs: should be a list of objects")
    names = [str(output.get("name")) for output in outputs] if outputs else None
    _check_types(content, id=str, parameters=dict)
    return Asked(content.get("id"), names), _images(inputs[0], b"" if json_size is None else body[json_size:], target)


def _images(tensor: dict[str, Any], binary: bytes, target: decoding.Target) -> np.ndarray:
    """Return the images of an input: pixels, or files in base64 or binary."""
    _check_types(tensor, name=str, parameters=dict)
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise HTTPException(400, "shape: should be a list of numbers")
    is_binary = "binary_data_size" in (tensor.get("parameters") or {})
    data = None if is_binary else _flat(tensor.get("data"))
    if datatype == "BYTES":
        contents = _files(binary) if data is None else [_text_file(value, n) for n, value in enumerate(data)]
        decoding.check_count(len(contents), target, "data")
        if shape != [len(contents)]:
            raise HTTPException(422, f"shape: should be [{len(contents)}], the number of files")
        return decoding.files(contents, target)
    expected = f"should be images of shape {target.shape}, of whole numbers from 0 to 255"
    if datatype not in schemas.NUMBERS or (is_binary and datatype != "UINT8"):
        raise HTTPException(400, f"datatype {str(datatype)[:20]}: accepted: UINT8, or BYTES of image files")
    if tuple(shape[1:]) != target.shape:
        raise HTTPException(422, f"wrong shape: {expected}")
    decoding.check_count(shape[0], target, "shape")
    values = np.frombuffer(binary, np.uint8) if data is None else decoding.numbers(data, expected)
    if len(values) != math.prod(shape):
        raise HTTPException(422, f"{len(values)} values: {expected}")
    return values.reshape(shape)


def _check_types(content: dict[str, Any], **types: type) -> None:
    """Raise `HTTPException` for values of `content` of other types than these; each may be missing, or null."""
    for name, kind in types.items():
        if not isinstance(content.get(name), kind | None):
            raise HTTPException(400, f"{name}: should be {'a text' if kind is str else 'an object'}")


def _flat(data: Any) -> list[Any]:
    """Flatten nested lists, which the protocol allows."""
    if not isinstance(data, list):
        raise HTTPException(400, "data: should be a list")
    while data and all(isinstance(value, list) for value in data):
        data = list(chain.from_iterable(data))
    return data


def _text_file(value: Any, number: int) -> bytes:
    if not isinstance(value, str):
        raise HTTPException(422, f"image {number}: should be a text of base64")
    return decoding.base64_bytes(value, number)


def _files(binary: bytes) -> list[bytes]:
    """Cut the binary form of BYTES: before each element, its length in 4 bytes, little-endian."""
    contents, position = [], 0
    while position < len(binary):
        first = position + 4
        position = first + int.from_bytes(binary[position:first], "little")
        contents.append(binary[first:position])
    return contents


def _chosen(outputs: dict[str, np.ndarray], names: Sequence[str] | None) -> dict[str, np.ndarray]:
    unknown = [name for name in names or () if name not in outputs]
    if unknown:
        raise HTTPException(400, f"output {unknown[0][:100]}: unknown; known: {', '.join(outputs)}")
    return {name: outputs[name] for name in names} if names else outputs


def _tensors(outputs: dict[str, np.ndarray]) -> str:
    parts = []
    for name, values in outputs.items():
        about = {"name": name, "datatype": DTYPES[values.dtype.name], "shape": values.shape}
        parts.append(f'{json.dumps(about)[:-1]}, "data": {encoding.array(values.ravel())}}}')
    return f"[{', '.join(parts)}]"


def _metadata(model: Model) -> dict[str, Any]:
    shape = [-1, *model.image_shape]
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": "tensorflow",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": shape}],
        "outputs": [{"name": name, "datatype": DTYPES[dtype], "shape": [-1, *shape[1:]]}
                    for name, (dtype, shape) in model.outputs.items()],
        "parameters": {"class_names": list(model.class_names)},
    }  # fmt: skip

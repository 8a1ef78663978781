"""What the OpenAPI document says besides the schemas: errors, bodies with examples, the token."""

from __future__ import annotations

from typing import Any

from fastapi.openapi.constants import REF_TEMPLATE
from pydantic import BaseModel

from cifar.serving import schemas

OPEN = frozenset({"/livez", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"})
"""Paths that need no token."""

_ERRORS = {
    400: "malformed JSON or form, or a missing field",
    401: "missing or wrong token",
    404: "unknown model",
    408: "timeout while receiving the body",
    413: "too many images, bytes or pixels",
    415: "content type or image format not accepted",
    422: "invalid images: wrong shape, out of range, corrupt",
    503: "too many waiting images or requests, or the service is shutting down",
}


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return a route's `responses`: an `Error` for each of these codes, by default for all."""
    return {code: {"model": schemas.Error, "description": _ERRORS[code]} for code in codes or _ERRORS}


DEFAULT_ERROR: dict[int | str, dict[str, Any]] = {"default": {"model": schemas.Error, "description": "any other error"}}


def one_of(*models: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a body that is one of the `models`; nested models are components of the document."""
    schemas = [model.model_json_schema(ref_template=REF_TEMPLATE) for model in models]
    for schema in schemas:
        schema.pop("$defs", None)
    return {"oneOf": schemas} if len(schemas) > 1 else schemas[0]


def body(content: dict[str, dict[str, Any]], example: Any = None) -> dict[str, Any]:
    """Return `openapi_extra` of a route that reads its body itself; `content` has a schema per content type."""
    examples = {} if example is None else {"example": example}
    kinds = {kind: {"schema": schema, **(examples if kind == JSON else {})} for kind, schema in content.items()}
    return {"requestBody": {"required": True, "content": kinds}}


JSON = "application/json"
IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAADElEQVR42mNgoA4AAABIAAEQRe/SAAAAAElFTkSuQmCC"
"""A PNG file in base64: a black image of 8 × 8 pixels."""
_FILE = {"type": "string", "format": "binary"}
PREDICT_BODY = body(
    {JSON: one_of(schemas.Instances, schemas.Inputs)}, {"instances": [{"b64": IMAGE}]}
)  # fmt: skip
INFER_BODY = body(
    {JSON: one_of(schemas.Infer)},
    {"inputs": [{"name": "image_bytes", "datatype": "BYTES", "shape": [1], "data": [IMAGE]}]},
)
UPLOAD_BODY = body({"multipart/form-data": one_of(schemas.Upload), **dict.fromkeys(schemas.IMAGE_TYPES, _FILE)})


def completed(document: dict[str, Any], needs_token: bool) -> dict[str, Any]:
    """Add the bearer token to the document if requests need one, but for `OPEN` paths; return the document."""
    if needs_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for path in OPEN.intersection(document["paths"]):
            for operation in document["paths"][path].values():
                operation["security"] = []
    return document

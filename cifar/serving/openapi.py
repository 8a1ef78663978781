"""What the OpenAPI document says besides the schemas of answers: errors, bodies, the token."""

from __future__ import annotations

from typing import Any

from cifar.serving import bodies, schemas

HEALTH = frozenset({"/livez", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"})
OPEN = HEALTH | {"/docs", "/openapi.json"}
"""Paths that need no token."""

_ERRORS = {
    400: "malformed JSON or form, or a missing field",
    401: "missing or wrong token",
    404: "unknown model or class",
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


def completed(document: dict[str, Any], needs_token: bool, accepted: bodies.Accepted) -> dict[str, Any]:
    """Add the bodies of requests, and the bearer token if requests need one; return the document."""
    for path, body in bodies.by_path(accepted).items():
        document["paths"][path]["post"]["requestBody"] = body
    if needs_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for path in OPEN.intersection(document["paths"]):
            for operation in document["paths"][path].values():
                operation["security"] = []
    return document

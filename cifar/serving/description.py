"""What OpenAPI tells of the addresses."""

from __future__ import annotations

from typing import Any

JSON_TYPES = ("application/json", "application/x-www-form-urlencoded")
"""The second is what `curl -d` says, so that the examples of TensorFlow Serving's manual work."""
UPLOAD_TYPES = ("multipart/form-data", "image/png", "image/jpeg")
TEXT = {"description": "text", "content": {"text/plain": {}}}
INTRODUCTION = (
    "Models of finished runs. `/predict` takes an image file and answers for people; `/v1/models/NAME:predict` takes "
    'and gives what TensorFlow Serving does for the exported SavedModel. What cannot be answered is `{"error": …}`.'
)

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
    "additionalProperties": False,
}
_REFUSALS = {
    400: "malformed JSON or form, or a missing field",
    401: "no token, or another one",
    404: "unknown model",
    408: "the body did not come in time",
    413: "too many images, bytes or pixels",
    415: "a content type, or a kind of image, that is not taken",
    422: "images that are none: wrong shape, out of range, corrupt",
    503: "too much is waiting, or the service is ending",
}
_FILE = {"type": "string", "format": "binary"}
_NUMBERS = {"type": "array", "items": {}}
_B64 = {
    "type": "object",
    "required": ["b64"],
    "properties": {"b64": {"type": "string", "format": "byte"}},
    "additionalProperties": False,
}


def of(summary: str, answers: dict[int, Any]) -> dict[str, Any]:
    """What a route without a body is described by: its `answers` by code, each a text or an OpenAPI response."""
    return {
        "summary": summary,
        "responses": {code: _response(code, told) for code, told in answers.items()},
        "response_model": None,
    }


def _response(code: int, told: Any) -> dict[str, Any]:
    if not isinstance(told, str):
        return told
    schema = _ERROR if code >= 400 else {"type": "object"}
    return {"description": told, "content": {"application/json": {"schema": schema}}}


def _with_body(summary: str, answer: str, content: dict[str, Any]) -> dict[str, Any]:
    described = of(summary, {200: answer, **_REFUSALS})
    return {**described, "openapi_extra": {"requestBody": {"required": True, "content": content}}}


PREDICT_ROWS = _with_body(
    "Predictions in the form of TensorFlow Serving",
    "`predictions` in rows for `instances`, `outputs` in columns for `inputs`",
    {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "signature_name": {"type": "string", "enum": ["serving_default", "serving_bytes"]},
                    "instances": {"type": "array", "minItems": 1, "items": {"anyOf": [_NUMBERS, _B64]}},
                    "inputs": {"type": "array", "minItems": 1, "items": {"anyOf": [_NUMBERS, _B64]}},
                },
                "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
            }
        }
    },
)
PREDICT_FILE = _with_body(
    "What the model sees in an image file",
    "the answer of the model's task",
    {
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["image"], "properties": {"image": _FILE}}
        },
        "image/png": {"schema": _FILE},
        "image/jpeg": {"schema": _FILE},
    },
)

"""What OpenAPI tells of the addresses, and the page that shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

JSON_TYPES = ("application/json", "application/x-www-form-urlencoded")
"""The second is what `curl -d` says, so that the examples of TensorFlow Serving's manual work."""
UPLOAD_TYPES = ("multipart/form-data", "image/png", "image/jpeg")
INTRODUCTION = (
    "Models of finished runs. `/predict` takes an image file and answers for people; `/v1/models/NAME:predict` takes "
    "and gives what TensorFlow Serving does for the exported SavedModel. `/v1/models` lists the names."
)


class Error(BaseModel):
    """What is wrong, in a line."""

    model_config = ConfigDict(extra="forbid")
    error: str


_REFUSALS = {
    400: "malformed JSON or form, or a missing field",
    401: "no token, or not the one",
    404: "unknown model",
    408: "the body did not come in time",
    413: "too many images, bytes or pixels",
    415: "a content type, or a kind of image, that is not taken",
    422: "no images: wrong shape, out of range, corrupt",
    503: "too much is waiting, or the service is ending",
}
_FILE = {"type": "string", "format": "binary"}
_UPLOAD = {
    "multipart/form-data": {"type": "object", "required": ["image"], "properties": {"image": _FILE}},
    "image/png": _FILE,
    "image/jpeg": _FILE,
}
_IMAGES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "anyOf": [
            {"type": "array", "description": "rows of pixels of channels, whole numbers from 0 to 255"},
            {
                "type": "object",
                "required": ["b64"],
                "properties": {"b64": {"type": "string", "format": "byte", "description": "a PNG or JPEG file"}},
                "additionalProperties": False,
            },
        ]
    },
}


def of(summary: str, answers: dict[int | str, str], content_type: str = "application/json") -> dict[str, Any]:
    """What a route is described by: its answers by code, those of 200 of `content_type`, those from 400 an `Error`."""
    good = {"content": {content_type: {"schema": {"type": "object" if content_type.endswith("json") else "string"}}}}
    responses = {code: {"description": told, **(good if code == 200 else {"model": Error})}
                 for code, told in answers.items()}  # fmt: skip
    return {"summary": summary, "responses": responses, "response_class": Response}


def with_body(summary: str, answer: str, content: dict[str, Any]) -> dict[str, Any]:
    """The same for one that takes a body: `content` has the schema of each content type."""
    body = {"required": True, "content": {kind: {"schema": schema} for kind, schema in content.items()}}
    return {**of(summary, {200: answer, **_REFUSALS}), "openapi_extra": {"requestBody": body}}


PREDICT_ROWS = with_body(
    "Predictions in the form of TensorFlow Serving",
    "`predictions` in rows for `instances`, `outputs` in columns for `inputs`",
    {
        "application/json": {
            "type": "object",
            "properties": {
                "signature_name": {"type": "string", "enum": ["serving_default", "serving_bytes"]},
                "instances": _IMAGES,
                "inputs": _IMAGES,
            },
            "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
        }
    },
)
PREDICT_FILE = with_body("What the model sees in an image file", "the answer of the model's task", _UPLOAD)
EXPLAIN = with_body(
    "A picture of the answer: boxes or masks, or where in the image it comes from",
    "`picture`, a PNG file in base64; of a classifier also `class`, the most probable one unless another is asked for, "
    "and `heat` from 0 to 1 at each place of the image, by Grad-CAM",
    _UPLOAD,
)


def page(described: dict[str, Any]) -> str:
    """An OpenAPI description as HTML that loads nothing."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                     trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    return environment.get_template("docs.html").render(described)

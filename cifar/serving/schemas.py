"""Schemas of requests and answers, for the OpenAPI document.

FastAPI uses them for documentation only: routes return a `Response`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi.openapi.constants import REF_TEMPLATE
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

JSON_TYPES = ("application/json", "application/x-www-form-urlencoded")
"""The second is the default of `curl -d`, so that the examples of TensorFlow Serving's manual work."""
UPLOAD_TYPES = ("multipart/form-data", "image/png", "image/jpeg")

Channels = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(title="Channels")]
Pixels = Annotated[list[list[Channels]], Field(description="rows of pixels of channels")]
Signature = Literal["serving_default", "serving_bytes"]


class Error(BaseModel):
    """An error message of one line."""

    model_config = ConfigDict(extra="forbid")
    error: str


class EncodedImage(BaseModel):
    """A PNG or JPEG file in base64."""

    model_config = ConfigDict(extra="forbid")
    b64: Base64Bytes


Images = Annotated[list[Pixels | EncodedImage], Field(min_length=1)]


class Instances(BaseModel):
    """Images in TensorFlow Serving's row format."""

    signature_name: Signature = "serving_default"
    instances: Images


class Inputs(BaseModel):
    """Images in TensorFlow Serving's columnar format."""

    signature_name: Signature = "serving_default"
    inputs: Images


class Upload(BaseModel):
    """A form with a PNG or JPEG file."""

    image: bytes


class Predictions(BaseModel):
    """The outputs of each of the `instances`, by the output's name."""

    predictions: list[dict[str, Any]]


class Outputs(BaseModel):
    """Each output of the model, for all `inputs`."""

    outputs: dict[str, list[Any]]


class Answer(BaseModel):
    """A model's answer for an image."""

    model: str
    run: str
    answer: Any = Field(description="as the model's task decodes it: classes, boxes or regions")


class Explanation(BaseModel):
    """A picture of an answer; for a classifier also the explained class and its Grad-CAM heat map."""

    model: str
    run: str
    class_name: str | None = Field(None, alias="class")
    heat: list[list[Annotated[float, Field(ge=0, le=1)]]] | None = None
    picture: EncodedImage


class Examples(BaseModel):
    """Test images that a run recorded."""

    examples: list[EncodedImage]


class Status(BaseModel):
    """The state of the process."""

    status: Literal["alive", "ready"]


class ModelInfo(BaseModel):
    """A model and its run."""

    name: str
    run: str
    run_name: str
    experiment: str
    task: str
    class_names: list[str]
    image_shape: tuple[int, int, int] = Field(description="height, width, channels")
    metrics: dict[str, float]


class Models(BaseModel):
    """All models of the service."""

    models: list[ModelInfo]


class VersionError(BaseModel):
    """TensorFlow Serving's error status of a version."""

    error_code: str
    error_message: str


class Version(BaseModel):
    """The only version of a model."""

    version: str
    state: str
    status: VersionError


class ModelState(BaseModel):
    """The state of a model in TensorFlow Serving's format."""

    model_version_status: list[Version]


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
    return {code: {"model": Error, "description": _ERRORS[code]} for code in codes or _ERRORS}


DEFAULT_ERROR: dict[int | str, dict[str, Any]] = {"default": {"model": Error, "description": "any other error"}}


def one_of(*models: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a body that is one of the `models`; nested models are components of the document."""
    schemas = [model.model_json_schema(ref_template=REF_TEMPLATE) for model in models]
    for schema in schemas:
        schema.pop("$defs", None)
    return {"oneOf": schemas} if len(schemas) > 1 else schemas[0]


def body(content: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return `openapi_extra` of a route that reads its body itself; `content` has a schema per content type."""
    schemas = {kind: {"schema": schema} for kind, schema in content.items()}
    return {"requestBody": {"required": True, "content": schemas}}


_FILE = {"type": "string", "format": "binary"}
PREDICT_BODY = body({"application/json": one_of(Instances, Inputs)})
UPLOAD_BODY = body({"multipart/form-data": one_of(Upload), "image/png": _FILE, "image/jpeg": _FILE})

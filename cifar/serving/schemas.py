"""Requests and answers of the service, as its OpenAPI document describes them.

FastAPI documents an answer by these models, but does not build it from one: routes return their `Response` as it is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi.openapi.constants import REF_TEMPLATE
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

JSON_TYPES = ("application/json", "application/x-www-form-urlencoded")
"""The second is what `curl -d` sends, so that the examples of TensorFlow Serving's manual work."""
UPLOAD_TYPES = ("multipart/form-data", "image/png", "image/jpeg")

Channels = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(title="Channels")]
Pixels = Annotated[list[list[Channels]], Field(description="rows of pixels of channels")]
Signature = Literal["serving_default", "serving_bytes"]


class Error(BaseModel):
    """One line that says what is wrong."""

    model_config = ConfigDict(extra="forbid")
    error: str


class EncodedImage(BaseModel):
    """A PNG or JPEG file in base64."""

    model_config = ConfigDict(extra="forbid")
    b64: Base64Bytes


Images = Annotated[list[Pixels | EncodedImage], Field(min_length=1)]


class Instances(BaseModel):
    """Images in rows, as TensorFlow Serving takes them."""

    signature_name: Signature = "serving_default"
    instances: Images


class Inputs(BaseModel):
    """Images in a column, as TensorFlow Serving takes them."""

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
    """What a model says of an image."""

    model: str
    run: str
    answer: Any = Field(description="as the model's task decodes it: classes, boxes or regions")


class Explanation(BaseModel):
    """A picture of an answer; of a classifier also the class that is explained and its heat map, by Grad-CAM."""

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
    """A model and the run behind it."""

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
    """TensorFlow Serving's word on a version."""

    error_code: str
    error_message: str


class Version(BaseModel):
    """A version of a model, of which there is one."""

    version: str
    state: str
    status: VersionError


class ModelState(BaseModel):
    """The state of a model, as TensorFlow Serving tells it."""

    model_version_status: list[Version]


_ERRORS = {
    400: "malformed JSON or form, or a missing field",
    401: "no token, or a wrong one",
    404: "unknown model",
    408: "the body did not come in time",
    413: "too many images, bytes or pixels",
    415: "a content type, or a kind of image, that is not accepted",
    422: "no images: wrong shape, out of range, corrupt",
    503: "too many images are waiting, or the service is shutting down",
}


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """A route's `responses`: an `Error` for each of these codes, for all of them where none is given."""
    return {code: {"model": Error, "description": _ERRORS[code]} for code in codes or _ERRORS}


DEFAULT_ERROR: dict[int | str, dict[str, Any]] = {"default": {"model": Error, "description": "any other error"}}


def one_of(*models: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a body that is one of the `models`; what they nest is among the document's components."""
    schemas = [model.model_json_schema(ref_template=REF_TEMPLATE) for model in models]
    for schema in schemas:
        schema.pop("$defs", None)
    return {"oneOf": schemas} if len(schemas) > 1 else schemas[0]


def body(content: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A route's `openapi_extra` where it reads its body by itself; `content` has a schema for each content type."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": own} for kind, own in content.items()}}}


_FILE = {"type": "string", "format": "binary"}
PREDICT_BODY = body({"application/json": one_of(Instances, Inputs)})
UPLOAD_BODY = body({"multipart/form-data": one_of(Upload), "image/png": _FILE, "image/jpeg": _FILE})

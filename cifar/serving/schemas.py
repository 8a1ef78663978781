"""Schemas of answers, for the OpenAPI document; those of bodies are in `bodies`.

FastAPI uses them for documentation only: routes return a `Response`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

JSON_TYPES = ("application/json", "application/x-www-form-urlencoded")
"""The second is the default of `curl -d`, so that the examples of TensorFlow Serving's manual work."""
IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif")
UPLOAD_TYPES = ("multipart/form-data", *IMAGE_TYPES)
NUMBERS = ("UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64", "FP16", "FP32", "FP64")
"""The data types of an image in the Open Inference Protocol; values are whole numbers from 0 to 255 in any of them."""


class Error(BaseModel):
    """An error message of one line."""

    model_config = ConfigDict(extra="forbid")
    error: str


class EncodedImage(BaseModel):
    """A PNG, JPEG, WebP, BMP or GIF file in base64."""

    model_config = ConfigDict(extra="forbid")
    b64: Base64Bytes


class Predictions(BaseModel):
    """The outputs for each image, by the output's name if there are several."""

    predictions: list[Any] | dict[str, list[Any]]


class Outputs(BaseModel):
    """The outputs for all `inputs`, by the output's name if there are several."""

    outputs: list[Any] | dict[str, list[Any]]


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
    main_metric: str | None = Field(description="the test metric by which the task judges a model")
    metrics: dict[str, float | None]


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


class Metadata(BaseModel):
    """The signatures of a model in TensorFlow Serving's format."""

    model_spec: dict[str, str]
    metadata: dict[str, Any]


class Tensor(BaseModel):
    """A tensor of the Open Inference Protocol."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] = Field(description="numbers, not nested")


class Inferred(BaseModel):
    """Outputs in the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Tensor]


class TensorInfo(BaseModel):
    """The type of an input or output, -1 being the number of images."""

    name: str
    datatype: str
    shape: list[int]


class Model(BaseModel):
    """A model in the Open Inference Protocol."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    parameters: dict[str, Any]


class Server(BaseModel):
    """The server in the Open Inference Protocol."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Liveness in the Open Inference Protocol."""

    live: bool


class Ready(BaseModel):
    """Readiness in the Open Inference Protocol."""

    name: str | None = None
    ready: bool

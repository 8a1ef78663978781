"""Schemas of the bodies of requests, for the OpenAPI document, with an example each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cifar.serving import schemas

EXAMPLE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAADElEQVR42mNgoA4AAABIAAEQRe/SAAAAAElFTkSuQmCC"
"""A PNG file in base64: a black image of 8 × 8 pixels."""
BASE64 = {"type": "string", "format": "base64", "description": "a PNG, JPEG, WebP, BMP or GIF file in base64"}
ENCODED = {"$ref": "#/components/schemas/EncodedImage"}
TEXT, PARAMETERS = {"type": ["string", "null"]}, {"type": ["object", "null"]}

Schema = dict[str, Any]


@dataclass(frozen=True)
class Accepted:
    """What the models of a service take: images of these shapes; and the names of their outputs."""

    shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[str, ...]
    max_images: int


def by_path(accepted: Accepted) -> dict[str, Schema]:
    """Return `requestBody` of each path that takes images."""
    file = {"type": "string", "format": "binary"}
    form = _object({"image": file}, more=False)
    upload = {"multipart/form-data": {"schema": form}, **{kind: {"schema": file} for kind in schemas.IMAGE_TYPES}}
    predict = _json({"oneOf": [_rows(accepted), _columns(accepted)]},
                    {"instances": [{"b64": EXAMPLE}]})  # fmt: skip
    infer = _json(_infer(accepted), {"inputs": [{"name": "image_bytes", "datatype": "BYTES", "shape": [1],
                                                           "data": [EXAMPLE]}]})  # fmt: skip
    contents = {"/predict": upload, "/explain": upload, "/v1/models/{name}:predict": predict, "/invocations": predict,
                "/v2/models/{name}/infer": infer}  # fmt: skip
    return {path: {"required": True, "content": content} for path, content in contents.items()}


def _rows(accepted: Accepted) -> Schema:
    """TensorFlow Serving's row format."""
    kinds = [_pixels(accepted), ENCODED]
    named = [_object({"image": kinds[0]}, more=False), _object({"image_bytes": kinds[1]}, more=False)]
    return _signed({"instances": {"anyOf": [_list(kind, accepted) for kind in [*kinds, *named]]}}, "inputs")


def _columns(accepted: Accepted) -> Schema:
    """TensorFlow Serving's columnar format."""
    lists = [_list(kind, accepted) for kind in (_pixels(accepted), ENCODED)]
    named = [_object({"image": lists[0]}, more=False), _object({"image_bytes": lists[1]}, more=False)]
    return _signed({"inputs": {"anyOf": [*lists, *named]}}, "instances")


def _signed(properties: Schema, excluded: str) -> Schema:
    signature = {"enum": ["serving_default", "serving_bytes", ""], "default": "serving_default"}
    return {**_object(properties, {"signature_name": signature}), "not": {"required": [excluded]}}


def _infer(accepted: Accepted) -> Schema:
    """The Open Inference Protocol."""
    count = {"type": "integer", "minimum": 1, "maximum": accepted.max_images}
    values = {"anyOf": [{"type": "array", "items": _VALUE}, _list(_pixels(accepted), accepted)]}
    sizes = [{"prefixItems": [count, *({"const": size} for size in shape)], "minItems": 1 + len(shape),
              "maxItems": 1 + len(shape)} for shape in accepted.shapes]  # fmt: skip
    shape = {"type": "array", **({"anyOf": sizes} if sizes else {}), "description": "with as many values as `data`"}
    optional = {"name": TEXT, "parameters": PARAMETERS}
    pixels = _object({"datatype": {"enum": [*schemas.NUMBERS]}, "shape": shape, "data": values}, optional)
    files = _object({"datatype": {"const": "BYTES"}, "shape": {"type": "array", "items": count, "minItems": 1,
                     "maxItems": 1}, "data": _list(BASE64, accepted)}, optional)  # fmt: skip
    outputs = {"type": ["array", "null"], "items": _object({"name": {"enum": [*accepted.outputs]}})}
    inputs = {"type": "array", "items": {"anyOf": [pixels, files]}, "minItems": 1, "maxItems": 1}
    return _object({"inputs": inputs}, {"id": TEXT, "outputs": outputs, "parameters": PARAMETERS})


_VALUE = {"type": "integer", "minimum": 0, "maximum": 255}


def _pixels(accepted: Accepted) -> Schema:
    """Rows of pixels of channels."""
    found = [_nested(shape) for shape in accepted.shapes]
    return found[0] if len(found) == 1 else {"type": "array", "anyOf": found} if found else {"type": "array"}


def _nested(shape: tuple[int, ...]) -> Schema:
    if not shape:
        return _VALUE
    return {"type": "array", "items": _nested(shape[1:]), "minItems": shape[0], "maxItems": shape[0]}


def _list(schema: Schema, accepted: Accepted) -> Schema:
    return {"type": "array", "items": schema, "minItems": 1, "maxItems": accepted.max_images}


def _object(properties: Schema, optional: Schema | None = None, more: bool = True) -> Schema:
    """An object that has `properties`, may have `optional` ones, and, if `more`, any others."""
    return {"type": "object", "properties": {**properties, **(optional or {})}, "required": [*properties],
            **({} if more else {"additionalProperties": False})}  # fmt: skip


def _json(schema: Schema, example: Any) -> Schema:
    return {"application/json": {"schema": schema, "example": example}}

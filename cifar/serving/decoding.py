"""Decoding of request bodies to images; errors are `HTTPException`."""

from __future__ import annotations

import binascii
import io
import json
import math
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.exceptions import HTTPException

from cifar.images.io import PixelsError, open_image
from cifar.runtime.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

SIGNATURES = {"serving_default": "image", "serving_bytes": "image_bytes"}
"""The signatures of an exported SavedModel, with the names of their inputs."""
TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
"""First bytes of accepted files, with their content types."""

Shape = tuple[int, int, int]


def document(body: bytes) -> dict[str, Any]:
    """Parse the JSON object in `body`; raises `HTTPException`."""
    try:
        content = json.loads(body.decode())
    except RecursionError:
        raise HTTPException(400, "the body is JSON nested too deeply") from None
    except ValueError as error:  # invalid UTF-8, invalid JSON, or integers with thousands of digits
        raise HTTPException(400, f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(content, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return content


def given(content: dict[str, Any]) -> tuple[str, list[Any]]:
    """Return the format of a TensorFlow Serving request, `instances` or `inputs`, and one value per image.

    Raises `HTTPException`.
    """
    signature = content.get("signature_name", "serving_default")
    if not isinstance(signature, str) or signature not in SIGNATURES:
        raise HTTPException(400, f"signature_name: unknown; known: {', '.join(SIGNATURES)}")
    names = [name for name in ("instances", "inputs") if name in content]
    if len(names) != 1:
        raise HTTPException(400, "the body should have either instances or inputs")
    (form,) = names
    values = content[form]
    if form == "inputs":
        values = _unnamed(values)
    if not isinstance(values, list):
        raise HTTPException(422, f"{form}: should be a list with one entry for each image")
    if not values:
        raise HTTPException(422, f"{form}: should have at least one image")
    return form, [_unnamed(value) for value in values] if form == "instances" else values


def pixels(values: Sequence[Any], shape: Shape) -> np.ndarray:
    """Convert nested lists of integers from 0 to 255 to images (n, height, width, channels); raises `HTTPException`.

    Lists are checked before NumPy gets them, since it allocates gigabytes for long strings.
    """
    expected = f"should be images of shape {shape}, of whole numbers from 0 to 255"
    for size in shape:
        if {list} != set(map(type, values)) or {size} != set(map(len, values)):
            raise HTTPException(422, f"wrong shape, or ragged: {expected}")
        values = list(chain.from_iterable(values))
    kinds = set(map(type, values))
    if kinds == {int, float} or kinds == {float}:
        if not all(map(math.isfinite, values)):
            raise HTTPException(422, f"not finite: {expected}")
        if not all(map(float.is_integer, map(float, values))):
            raise HTTPException(422, f"a fraction: {expected}")
        values = list(map(int, values))
    elif kinds != {int}:
        raise HTTPException(422, f"no number: {expected}")
    try:
        flat = bytes(values)
    except ValueError:
        raise HTTPException(422, f"out of range: {expected}") from None
    return np.frombuffer(flat, np.uint8).reshape(-1, *shape)


def files(values: Sequence[Any]) -> list[bytes] | None:
    """Decode the files in `values` of the form `{"b64": …}`; None if there are none; raises `HTTPException`."""
    if not any(isinstance(value, dict) for value in values):
        return None
    contents = []
    for number, value in enumerate(values):
        encoded = value.get("b64") if isinstance(value, dict) and len(value) == 1 else None
        if not isinstance(encoded, str):
            raise HTTPException(422, f"image {number}: should be {{'b64': TEXT}}, like the others")
        try:
            contents.append(binascii.a2b_base64(encoded, strict_mode=True))
        except ValueError as error:
            raise HTTPException(422, f"image {number}: b64: {error}") from None
    return contents


def opened(contents: Sequence[bytes], max_pixels: int) -> list[Image]:
    """Open image files by reading their headers; raises `HTTPException`.

    No image is decoded before the declared sizes of all are checked.
    """
    images, declared = [], 0
    for number, content in enumerate(contents):
        if not content.startswith(tuple(TYPES)):
            raise HTTPException(415, f"image {number}: neither PNG nor JPEG")
        try:
            image = open_image(io.BytesIO(content), f"image {number}")
        except PixelsError as error:
            raise HTTPException(413, str(error)) from None
        except InputError as error:
            raise HTTPException(422, str(error)) from None
        declared += image.width * image.height
        if declared > max_pixels:
            raise HTTPException(413, f"image {number}: the images have {declared} pixels; accepted: {max_pixels}")
        images.append(image)
    return images


def _unnamed(value: Any) -> Any:
    """Unwrap the value of an input given by its name."""
    if isinstance(value, dict) and len(value) == 1:
        (name,) = value
        return value[name] if name in SIGNATURES.values() else value
    return value

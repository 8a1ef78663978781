"""Decoding of images in requests, in the event loop or in a worker; errors are `HTTPException`."""

from __future__ import annotations

import binascii
import dataclasses
import io
import json
import math
import re
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.exceptions import HTTPException

from cifar.images import photos, untrusted
from cifar.images.io import PixelsError, open_image
from cifar.images.photos import Photo, Preparation
from cifar.runtime.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

SHORT_BYTES, SHORT_PIXELS, SHORT_FILES = 2**16, 2**16, 16
"""Maximum size of a body, of its images, and of their number, that are decoded in the event loop: milliseconds."""
SHORT_FORMATS = ("PNG", "JPEG")
"""Formats of images that are decoded in the event loop: `untrusted.bounded` knows what they may cost."""
SHORT_SCANS = 4
"""Maximum number of scans of a JPEG that is decoded in the event loop; progressive ones have more."""
MAX_SCANNED = 2**29
"""Maximum number of pixels of a JPEG times its scans, each of which passes over all pixels: a few seconds."""
URL_SAFE = str.maketrans("-_", "+/")

Shape = tuple[int, int, int]


class Long(Exception):  # noqa: N818, it is no error
    """There are more images, pixels or scans than are decoded in the event loop, or another format."""


@dataclasses.dataclass(frozen=True)
class Target:
    """How images are prepared for a model, whose task is dense or not, within limits."""

    preparation: Preparation
    is_dense: bool
    max_images: int
    max_pixels: int
    is_here: bool = False
    """True in the event loop, where what would take longer raises `Long`."""

    @property
    def shape(self) -> Shape:
        """(height, width, channels) of the model's images."""
        return self.preparation.shape

    @property
    def here(self) -> Target:
        return dataclasses.replace(self, is_here=True)


def photo(content: bytes, target: Target, max_side: int | None = None) -> tuple[Photo, np.ndarray]:
    """Decode a file, also to the pixels that an answer is drawn on; raises `HTTPException`.

    Those are the whole photo's for a dense task if `max_side`, the most pixels a side, is given; else the model's
    input. Positions are in pixels of what is drawn on, or without `max_side` of the whole photo.
    """
    (found,) = _photos([content], target)
    if not (max_side and target.is_dense):
        return found, found.image
    try:
        drawn = photos.whole(_opened(content, target, "image 0"), target.shape[2], "image 0", max_side)
    except InputError as error:
        raise HTTPException(422, str(error)) from None
    return dataclasses.replace(found, position=found.position.of_size(drawn.shape[:2])), drawn


def images(values: Sequence[Any], target: Target, where: str) -> np.ndarray:
    """Convert nested lists or files, `{"b64": …}`, to images (n, height, width, channels); raises `HTTPException`."""
    check_count(len(values), target, where)
    if not any(isinstance(value, dict) for value in values):
        return pixels(values, target.shape)
    contents = []
    for number, value in enumerate(values):
        encoded = value.get("b64") if isinstance(value, dict) and len(value) == 1 else None
        if not isinstance(encoded, str):
            raise HTTPException(422, f"image {number}: should be {{'b64': TEXT}}, like the others")
        contents.append(base64_bytes(encoded, number))
    return files(contents, target)


def files(contents: Sequence[bytes], target: Target) -> np.ndarray:
    """Decode image files to images (n, height, width, channels); raises `HTTPException`."""
    return np.stack([found.image for found in _photos(contents, target)])


def check_count(images: int, target: Target, where: str) -> None:
    """Raise `HTTPException` for no image, or too many."""
    if not images:
        raise HTTPException(422, f"{where}: should have at least one image")
    if images > target.max_images:
        raise HTTPException(413, f"{where}: {images} images; accepted: {target.max_images}")


def document(body: bytes) -> dict[str, Any]:
    """Parse the JSON object in `body`; raises `HTTPException`."""
    try:
        content = json.loads(body.decode("utf-8-sig"))
    except RecursionError:
        raise HTTPException(400, "the body is JSON nested too deeply") from None
    except ValueError as error:  # invalid UTF-8, invalid JSON, or integers with thousands of digits
        raise HTTPException(400, f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(content, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return content


def pixels(values: Sequence[Any], shape: Shape) -> np.ndarray:
    """Convert nested lists of integers from 0 to 255 to images (n, height, width, channels); raises `HTTPException`.

    Lists are checked before NumPy gets them, since it allocates gigabytes for long strings.
    """
    expected = f"should be images of shape {shape}, of whole numbers from 0 to 255"
    for size in shape:
        if {list} != set(map(type, values)) or {size} != set(map(len, values)):
            raise HTTPException(422, f"wrong shape, or ragged: {expected}")
        values = list(chain.from_iterable(values))
    return numbers(list(values), expected).reshape(-1, *shape)


def numbers(values: list[Any], expected: str) -> np.ndarray:
    """Convert whole numbers from 0 to 255 to uint8 (n,); raises `HTTPException`."""
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
        return np.frombuffer(bytes(values), np.uint8)
    except ValueError:
        raise HTTPException(422, f"out of range: {expected}") from None


def base64_bytes(encoded: str, number: int) -> bytes:
    """Decode base64 of RFC 4648, also URL-safe or without padding, or of RFC 2045, with line breaks.

    Raises `HTTPException` about image `number`.
    """
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:  # the other forms, which take longer
        plain = re.sub(r"[ \t\r\n]+", "", encoded).rstrip("=").translate(URL_SAFE)
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except ValueError as error:
        raise HTTPException(422, f"image {number}: b64: {error}") from None


def _photos(contents: Sequence[bytes], target: Target) -> list[Photo]:
    if target.is_here and len(contents) > SHORT_FILES:
        raise Long
    opened = [_opened(content, target, f"image {number}") for number, content in enumerate(contents)]
    declared = sum(file.width * file.height for file in opened)
    if declared > target.max_pixels:
        raise HTTPException(413, f"the images have {declared} pixels; accepted: {target.max_pixels}")
    if target.is_here and declared > SHORT_PIXELS:
        raise Long
    try:
        return [photos.prepare(file, target.preparation, f"image {number}") for number, file in enumerate(opened)]
    except InputError as error:
        raise HTTPException(422, str(error)) from None


def _opened(content: bytes, target: Target, where: str) -> Image:
    """Open a file by reading its header; raises `HTTPException`."""
    kind = untrusted.format_of(content)
    if kind is None:
        raise HTTPException(415, f"{where}: not {untrusted.ACCEPTED}")
    scans = content.count(untrusted.SCAN) if kind == "JPEG" else 1
    if target.is_here and (kind not in SHORT_FORMATS or scans > SHORT_SCANS):
        raise Long
    try:
        file = open_image(io.BytesIO(untrusted.bounded(content, where)), where, (kind,), untrusted.ACCEPTED)
    except PixelsError as error:
        raise HTTPException(413, str(error)) from None
    except InputError as error:
        raise HTTPException(422, str(error)) from None
    if scans * file.width * file.height > MAX_SCANNED:
        raise HTTPException(413, f"{where}: has {scans} scans of {file.width}×{file.height} pixels, which is too much")
    return file

"""The preparation of a photo of any size for a model: the same for training, in `predict` and in the service."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar.files.safe_io import refusing
from cifar.images.io import PHOTO, check_depth, decode, upright_size
from cifar.images.placement import Placement
from cifar.interfaces import Resize
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    from PIL import Image

GAP = 2
"""Photos are decoded at no less than this many times the size that they are resized to."""


@dataclass(frozen=True)
class Preparation:
    """How photos become images of `shape` (height, width, channels).

    With `drafts`, a JPEG is decoded at a half, a quarter or an eighth of its size where that is `GAP` times what is
    wanted, from fewer cosine coefficients. The mean difference to a photo that is decoded as a whole and then resized
    is below 1 of 255.
    """

    shape: tuple[int, int, int]
    resize: Resize
    drafts: bool = True


@dataclass(frozen=True)
class Photo:
    """A photo as the model's `image`, uint8 (height, width, channels), and its `position` in it."""

    image: np.ndarray
    position: Placement

    def located(self, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Map `predictions` for `image` to those for the photo."""
        return self.position.to_photo(predictions)


def prepare(file: Image.Image, preparation: Preparation, where: object) -> Photo:
    """Decode an opened image for a model, and close it; raises `InputError` about `where`."""
    from PIL import Image

    shape = preparation.shape
    with refusing(where, PHOTO):
        check_depth(file)
        position = Placement.of(upright_size(file), shape, preparation.resize)
        if preparation.drafts:  # changes nothing but a JPEG
            wanted = GAP * max(position.scale)
            file.draft(None, (math.ceil(file.width * wanted), math.ceil(file.height * wanted)))
        pixels = decode(file, shape[2], where)
        top, left, bottom, right = position.covered
        (x0, x1), (y0, y1) = (
            [min(max((edge - start) / scale, 0), length) * (decoded / length) for edge in edges]
            for edges, start, scale, length, decoded in (
                ((left, right), position.left, position.scale[1], position.size[1], pixels.width),
                ((top, bottom), position.top, position.scale[0], position.size[0], pixels.height),
            )
        )
        resized = pixels.resize((right - left, bottom - top), Image.Resampling.BILINEAR, (x0, y0, x1, y1))
    covered = np.asarray(resized).reshape(bottom - top, right - left, shape[2])
    if covered.shape == shape:
        return Photo(covered, position)
    image = np.zeros(shape, np.uint8)
    image[top:bottom, left:right] = covered
    return Photo(image, position)


def whole(file: Image.Image, channels: int, where: object, max_side: int | None = None) -> np.ndarray:
    """Decode an opened image, and close it: uint8 (height, width, channels), of at most `max_side` pixels a side.

    Raises `InputError` about `where`.
    """
    photo = decode(file, channels, where)
    if max_side:
        photo.thumbnail((max_side, max_side))
    return np.asarray(photo).reshape(photo.height, photo.width, channels)

"""The preparation of a photo of any size for a model: the same in `predict`, in the service and in exported files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar.images.io import Letterbox, crop, letterbox

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


LARGE = 2**22
"""Pixels above which a JPEG is decoded at a half, a quarter or an eighth of its size, if the model's is smaller."""
GAP = 3
"""Large photos are decoded at no less than this many times the size that they are resized to."""


@dataclass(frozen=True)
class Photo:
    """A photo as the model's `image`, uint8 (height, width, channels).

    Where the task is dense, `pixels` are those of the whole photo, and `position` is where it is in `image`; otherwise
    `pixels` is `image`, cropped from the photo's center.
    """

    image: np.ndarray
    pixels: np.ndarray
    position: Letterbox | None = None

    def located(self, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Map `predictions` for `image` to those for `pixels`."""
        return self.position.to_photo(predictions) if self.position else dict(predictions)


def prepare(
    file: Image.Image, shape: tuple[int, int, int], is_dense: bool, where: object, max_side: int | None = None
) -> Photo:
    """Decode an opened image for a model whose task is dense or not, and close it; raises `InputError` about `where`.

    The `pixels` of a dense task have at most `max_side` pixels a side, if given.
    """
    if is_dense:
        pixels, image, position = letterbox(file, shape, where, max_side)
        return Photo(image, pixels, position)
    if file.width * file.height > LARGE:  # nothing but a JPEG is changed
        scale = GAP * max(shape[:2]) / min(file.size)
        file.draft(None, (math.ceil(scale * file.width), math.ceil(scale * file.height)))
    image, _ = crop(file, shape, where)
    return Photo(image, image)

"""Photos decoded to the size of the model's images."""

from __future__ import annotations

from typing import Literal

from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath
from cifar.images.io import PHOTO, Letterbox, crop, letterbox, open_image
from cifar.runtime.lazy import np


def decoded(
    photo: TreePath, shape: tuple[int, int, int], resize: Literal["crop", "letterbox"]
) -> tuple[np.ndarray, Letterbox]:
    """Decode `photo` to uint8 of `shape`; return it and its position in the image. Raises `InputError`."""
    with refusing(photo, PHOTO), photo.open() as file:
        image = open_image(file, photo)
        return crop(image, shape, photo) if resize == "crop" else letterbox(image, shape, photo)[1:]

"""Images from files that anybody may have made, and back."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cifar.errors import InputError
from cifar.lazy import np
from cifar.untrusted import refusing

if TYPE_CHECKING:
    from PIL import Image


class PixelsError(InputError):
    """An image that declares more pixels than are safe to decode."""


def read_image(path: str | Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The PNG or JPEG image at `path` as uint8 of `shape` (height, width, channels), in grey for one channel.

    It is resized until it covers the shape, and its centre is cut out. Raises `InputError` for a file that is missing
    or no such image, has more than 8 bits a channel, or declares more pixels than Pillow holds to be safe.
    """
    return fitted(open_image(path, path), shape, path)


def open_image(file: str | Path | BinaryIO, where: object) -> Image.Image:
    """The PNG or JPEG image in `file`, of which no more than the header is read.

    Raises `InputError` about `where`, a `PixelsError` for more than Pillow holds to be safe.
    """
    from PIL import Image

    with refusing(where, _accepted()), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(file, formats=("PNG", "JPEG"))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise PixelsError(f"{where}: cannot be read ({error}); accepted: {_accepted()}") from None


def fitted(image: Image.Image, shape: tuple[int, int, int], where: object) -> np.ndarray:
    """`image` decoded and made to fit, as `read_image` tells; it is closed. Raises `InputError` about `where`."""
    from PIL import Image, ImageOps

    height, width, channels = shape
    with refusing(where, _accepted()), image:
        if image.mode.startswith(("I", "F")):  # Pillow would clip 16 bits to 255 without a word
            raise ValueError(f"its mode is {image.mode}")
        upright = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
        return np.asarray(ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)).reshape(shape)


def _accepted() -> str:
    from PIL import Image

    return f"a PNG or JPEG image of 8 bits a channel, at most {Image.MAX_IMAGE_PIXELS} pixels"


def png(image: np.ndarray) -> bytes:
    """The PNG file of a uint8 image (height, width, 1 or 3)."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG", optimize=True)
    return file.getvalue()

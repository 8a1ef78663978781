"""Read untrusted image files, write PNG."""

from __future__ import annotations

import functools
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from cifar.files.safe_io import refusing
from cifar.runtime.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
"""EXIF's tag of the orientation, and its values for photos that are turned by 90 degrees."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif")
PHOTO = "a PNG, JPEG, WebP, BMP, TIFF or GIF image of 8 bits a channel"


class Source(Protocol):
    """A file to read: a `pathlib.Path`, or a member of an archive."""

    def open(self, mode: str) -> BinaryIO:
        """Open it to read bytes, with mode `rb`."""


class PixelsError(InputError):
    """The header of an image declares more pixels than are safe to decode."""


def open_image(
    file: str | Path | BinaryIO, where: object, formats: tuple[str, ...] = FORMATS, accepted: str = PHOTO
) -> Image.Image:
    """Open an image, or the first frame of an animation, without decoding it: only the header is read.

    Raises `InputError` about `where`, and `PixelsError` for more pixels than Pillow's safety limit.
    """
    from PIL import Image, UnidentifiedImageError

    accepted = f"{accepted}, at most {Image.MAX_IMAGE_PIXELS} pixels"
    with refusing(where, accepted):
        try:
            _ignore_bomb_warnings()
            image = Image.open(file, formats=formats)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise PixelsError(f"{where}: cannot be read ({error}); accepted: {accepted}") from None
        except UnidentifiedImageError:  # its text contains a memory address
            raise InputError(f"{where}: cannot be read (not such an image); accepted: {accepted}") from None
        if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise PixelsError(f"{where}: cannot be read ({image.width}×{image.height} pixels); accepted: {accepted}")
        return image


@functools.cache
def _ignore_bomb_warnings() -> None:
    """`open_image` checks the size itself: filters of warnings are those of all threads."""
    from PIL import Image

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def encode_png(image: np.ndarray, software: str = "") -> bytes:
    """Encode a uint8 image (height, width, 1 or 3) as PNG; `software` becomes its `Software` text."""
    from PIL import Image, PngImagePlugin

    file, texts = io.BytesIO(), PngImagePlugin.PngInfo()
    if software:
        texts.add_text("Software", software)
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG", pnginfo=texts)
    return file.getvalue()


def decode(image: Image.Image, channels: int, where: object) -> Image.Image:
    """Decode `image` to gray or RGB, on white where it is transparent, apply its EXIF orientation, close it.

    Raises `InputError` about `where`, also for more than 8 bits a channel, of which Pillow takes or clips the highest.
    """
    from PIL import Image, ImageOps

    mode = "L" if channels == 1 else "RGB"
    with refusing(where, "intact images of 8 bits a channel"), image:
        check_depth(image)
        ImageOps.exif_transpose(image, in_place=True)
        if image.has_transparency_data:
            opaque = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert(mode)
        return image.convert(mode)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of an opened image once it is turned as its EXIF orientation says."""
    return image.size if is_sideways(image) else (image.height, image.width)


def is_sideways(image: Image.Image) -> bool:
    """True for an opened image whose EXIF orientation exchanges its sides."""
    return image.getexif().get(ORIENTATION) in SIDEWAYS


def check_depth(image: Image.Image) -> None:
    """Raise `ValueError` for more than 8 bits a channel, if `image` is not decoded yet: later, it is not known."""
    if image.mode.startswith(("I", "F")) or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
        raise ValueError(f"its mode is {image.mode}, of more than 8 bits a channel")

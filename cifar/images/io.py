"""Read untrusted image files, fit images to a model's input, write PNG."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

from cifar.files.safe_io import refusing
from cifar.interfaces import VOID
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    from PIL import Image


ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
"""EXIF's tag of the orientation, and its values for photos that are turned by 90 degrees."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif")
PHOTO = "a PNG, JPEG, WebP, BMP, TIFF or GIF image of 8 bits a channel"
Resize = Literal["crop", "letterbox"]
"""A photo covers the model's image, and its center is cut out; or is padded with black."""


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


def crop(image: Image.Image, shape: tuple[int, int, int], where: object) -> tuple[np.ndarray, Letterbox]:
    """Decode `image`, resize it to cover `shape` (height, width, channels), center-crop it, and close it.

    Returns uint8 of `shape`, and the photo's position in it, whose sides may lie outside of it. Raises `InputError`
    about `where`.
    """
    from PIL import Image, ImageOps

    height, width, channels = shape
    photo = decode(image, channels, where)
    fitted = np.asarray(ImageOps.fit(photo, (width, height), Image.Resampling.BILINEAR)).reshape(shape)
    return fitted, placed((photo.height, photo.width), shape, "crop")


@dataclass(frozen=True)
class Letterbox:
    """The position of a photo of `size` (height, width) in the model's image: resized by `scale`, with its upper left
    corner at pixel (`left`, `top`), which lies outside of the image where the photo is cropped."""

    size: tuple[int, int]
    scale: tuple[float, float]
    """Vertical and horizontal; they differ slightly because sizes are rounded to whole pixels."""
    left: float
    top: float

    def to_photo(self, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Map boxes and masks of `predictions` from pixels of the model's image to pixels of the photo."""
        height, width = self.size
        mapped = dict(predictions)
        if "boxes" in mapped:
            corner, scale = np.array([self.left, self.top] * 2), np.array(self.scale[::-1] * 2)
            mapped["boxes"] = np.clip((mapped["boxes"] - corner) / scale, 0, [width, height] * 2)
        if "mask" in mapped:
            rows, columns = (((np.arange(length) + 0.5) * scale).astype(int) + first for length, scale, first in
                             zip(self.size, self.scale, (self.top, self.left), strict=True))  # fmt: skip
            mapped["mask"] = mapped["mask"][:, rows[:, None], columns]
        return mapped

    def boxes_to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes (…, 4) from pixels of the photo to pixels of the model's image."""
        return boxes * np.array(self.scale[::-1] * 2) + np.array([self.left, self.top] * 2)

    def mask_to_image(self, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Map a photo's mask, uint8, to the model's image of `shape`, by nearest pixel, with `VOID` around it."""
        mapped = np.full(shape[:2], VOID, np.uint8)
        top, left, bottom, right = self.covered(shape)
        rows, columns = (
            ((np.arange(first, last) + 0.5 - start) / scale).astype(int).clip(max=length - 1)
            for first, last, start, scale, length in zip(
                (top, left), (bottom, right), (self.top, self.left), self.scale, self.size, strict=True
            )
        )
        mapped[top:bottom, left:right] = mask[rows[:, None], columns]
        return mapped

    def covered(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of the part of the model's image of `shape` that the photo covers, in pixels."""
        height, width = (round(start + length * scale) for start, length, scale in
                         zip((self.top, self.left), self.size, self.scale, strict=True))  # fmt: skip
        return max(int(self.top), 0), max(int(self.left), 0), min(height, shape[0]), min(width, shape[1])


def placed(size: tuple[int, int], shape: tuple[int, ...], resize: Resize) -> Letterbox:
    """The position of a photo of `size` (height, width) in a model's image of `shape`."""
    ratios = [to / length for to, length in zip(shape, size, strict=False)]
    if resize == "crop":
        scale = max(ratios)
        top, left = ((to - scale * length) / 2 for to, length in zip(shape, size, strict=False))
        return Letterbox(size, (scale, scale), left, top)
    height, width = (max(1, round(min(ratios) * length)) for length in size)
    return Letterbox(size, (height / size[0], width / size[1]), (shape[1] - width) // 2, (shape[0] - height) // 2)


def letterbox(
    image: Image.Image, shape: tuple[int, int, int], where: object, max_side: int | None = None
) -> tuple[np.ndarray, np.ndarray, Letterbox]:
    """Decode `image`, letterbox it: resized within `shape` with its aspect ratio kept, black around it; and close it.

    Returns the photo, uint8 (its height, its width, channels), with at most `max_side` pixels a side if given; the
    letterboxed image, uint8 of `shape`; and the photo's position in it. Raises `InputError` about `where`.
    """
    from PIL import Image

    channels = shape[2]
    photo = decode(image, channels, where)
    if max_side:
        photo.thumbnail((max_side, max_side))
    position = placed((photo.height, photo.width), shape, "letterbox")
    top, left, bottom, right = position.covered(shape)
    fitted = np.zeros(shape, np.uint8)
    resized = np.asarray(photo.resize((right - left, bottom - top), Image.Resampling.BILINEAR))
    fitted[top:bottom, left:right] = resized.reshape(bottom - top, right - left, channels)
    return np.asarray(photo).reshape(photo.height, photo.width, channels), fitted, position


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

    with refusing(where, "intact images of 8 bits a channel"), image:
        check_depth(image)
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        return upright.convert("L" if channels == 1 else "RGB")


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

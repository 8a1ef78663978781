"""Read untrusted image files, fit images to a model's input, write PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from cifar.files.safe_io import refusing
from cifar.interfaces import VOID
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    from PIL import Image


PHOTO = "a PNG or JPEG image of 8 bits a channel"


class Source(Protocol):
    """A file to read: a `pathlib.Path`, or a member of an archive."""

    def open(self, mode: str) -> BinaryIO:
        """Open it to read bytes, with mode `rb`."""


class PixelsError(InputError):
    """The header of an image declares more pixels than are safe to decode."""


def read_image(path: str | Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Read a PNG or JPEG file as uint8 of `shape` (height, width, channels), in gray for one channel.

    The image is resized to cover the shape, then center-cropped. Raises `InputError` if the file is missing, is no
    such image, has more than 8 bits a channel or declares more pixels than Pillow's safety limit.
    """
    return fit_image(open_image(path, path), shape, path)


def open_image(
    file: str | Path | BinaryIO, where: object, formats: tuple[str, ...] = ("PNG", "JPEG"), accepted: str = PHOTO
) -> Image.Image:
    """Open an image without decoding it: only the header is read.

    Raises `InputError` about `where`, and `PixelsError` for more pixels than Pillow's safety limit.
    """
    from PIL import Image, UnidentifiedImageError

    accepted = f"{accepted}, at most {Image.MAX_IMAGE_PIXELS} pixels"
    with refusing(where, accepted), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(file, formats=formats)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise PixelsError(f"{where}: cannot be read ({error}); accepted: {accepted}") from None
        except UnidentifiedImageError:  # its text contains a memory address
            raise InputError(f"{where}: cannot be read (not such an image); accepted: {accepted}") from None


def fit_image(image: Image.Image, shape: tuple[int, int, int], where: object) -> np.ndarray:
    """Decode `image`, resize and center-crop it like `read_image`, close it. Raises `InputError` about `where`."""
    return crop(image, shape, where)[0]


def crop(image: Image.Image, shape: tuple[int, int, int], where: object) -> tuple[np.ndarray, Letterbox]:
    """Like `fit_image`; also returns the photo's position, whose sides may lie outside of the image."""
    from PIL import Image, ImageOps

    height, width, channels = shape
    photo = _decode(image, channels, where)
    fitted = np.asarray(ImageOps.fit(photo, (width, height), Image.Resampling.BILINEAR)).reshape(shape)
    scale = max(height / photo.height, width / photo.width)
    left, top = (width - scale * photo.width) / 2, (height - scale * photo.height) / 2
    return fitted, Letterbox((photo.height, photo.width), (scale, scale), left, top)


@dataclass(frozen=True)
class Letterbox:
    """The position of a letterboxed or cropped photo of `size` (height, width) in the model's image: resized by
    `scale`, with its upper left corner at pixel (`left`, `top`)."""

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
        rows, columns = (((np.arange(round(length * scale)) + 0.5) / scale).astype(int) for length, scale in
                         zip(self.size, self.scale, strict=True))  # fmt: skip
        mapped[self.top : self.top + len(rows), self.left : self.left + len(columns)] = mask[rows[:, None], columns]
        return mapped


def read_photo(path: str | Path, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, Letterbox]:
    """Read a photo and letterbox it: resized within `shape` with its aspect ratio kept, black around it.

    Returns the photo, uint8 (its height, its width, channels), the letterboxed image, uint8 of `shape`, and the
    photo's position in it. Raises `InputError` like `read_image`.
    """
    return letterbox(open_image(path, path), shape, path)


def letterbox(
    image: Image.Image, shape: tuple[int, int, int], where: object, max_side: int | None = None
) -> tuple[np.ndarray, np.ndarray, Letterbox]:
    """Decode `image`, letterbox it like `read_photo`, close it. Raises `InputError` about `where`.

    The returned photo has at most `max_side` pixels a side, if given.
    """
    from PIL import Image

    height, width, channels = shape
    photo = _decode(image, channels, where)
    if max_side:
        photo.thumbnail((max_side, max_side))
    ratio = min(height / photo.height, width / photo.width)
    new_height, new_width = (max(1, round(ratio * length)) for length in (photo.height, photo.width))
    top, left = (height - new_height) // 2, (width - new_width) // 2
    fitted = np.zeros(shape, np.uint8)
    resized = np.asarray(photo.resize((new_width, new_height), Image.Resampling.BILINEAR))
    fitted[top : top + new_height, left : left + new_width] = resized.reshape(new_height, new_width, channels)
    scale = new_height / photo.height, new_width / photo.width
    position = Letterbox((photo.height, photo.width), scale, left, top)
    return np.asarray(photo).reshape(photo.height, photo.width, channels), fitted, position


def read_index_mask(path: Source) -> np.ndarray:
    """Read the gray levels or palette indices of a PNG image: uint8 (height, width).

    Raises `InputError` if the file is no such image.
    """
    accepted = "a PNG image of one channel, gray or of a palette, of 8 bits at most"
    with refusing(path, accepted), path.open("rb") as file, open_image(file, path, ("PNG",), accepted) as image:
        if image.mode not in ("1", "L", "P"):
            raise ValueError(f"its mode is {image.mode}")
        return np.asarray(image).astype(np.uint8)


def read_rgb(path: Source) -> np.ndarray:
    """Read a PNG image as uint8 (height, width, 3); raises `InputError` like `read_index_mask`."""
    accepted = "a PNG image of 8 bits a channel"
    with refusing(path, accepted), path.open("rb") as file, open_image(file, path, ("PNG",), accepted) as image:
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"its mode is {image.mode}")
        return np.asarray(image.convert("RGB"))


def encode_png(image: np.ndarray, software: str = "") -> bytes:
    """Encode a uint8 image (height, width, 1 or 3) as PNG; `software` becomes its `Software` text."""
    from PIL import Image, PngImagePlugin

    file, texts = io.BytesIO(), PngImagePlugin.PngInfo()
    if software:
        texts.add_text("Software", software)
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG", pnginfo=texts)
    return file.getvalue()


def _decode(image: Image.Image, channels: int, where: object) -> Image.Image:
    """Decode `image` to gray or RGB, apply its EXIF orientation, close it. Raises `InputError` about `where`."""
    from PIL import ImageOps

    with refusing(where, PHOTO), image:
        if image.mode.startswith(("I", "F")):  # Pillow would silently clip 16 bits to 255
            raise ValueError(f"its mode is {image.mode}")
        return ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")

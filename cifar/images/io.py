"""Images from files that anybody may have made, and back."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cifar.files.safe_io import refusing
from cifar.interfaces import VOID
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    from PIL import Image


PHOTO = "a PNG or JPEG image of 8 bits a channel"


class PixelsError(InputError):
    """An image that declares more pixels than are safe to decode."""


def read_image(path: str | Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The PNG or JPEG image at `path` as uint8 of `shape` (height, width, channels), in gray for one channel.

    It is resized until it covers the shape, and its center is cut out. Raises `InputError` for a file that is missing
    or no such image, has more than 8 bits a channel, or declares more pixels than Pillow holds to be safe.
    """
    return fitted(open_image(path, path), shape, path)


def open_image(
    file: str | Path | BinaryIO, where: object, formats: tuple[str, ...] = ("PNG", "JPEG"), accepted: str = PHOTO
) -> Image.Image:
    """The image in `file`, of which no more than the header is read.

    Raises `InputError` about `where`, a `PixelsError` for more than Pillow holds to be safe.
    """
    from PIL import Image, UnidentifiedImageError

    accepted = f"{accepted}, at most {Image.MAX_IMAGE_PIXELS} pixels"
    with refusing(where, accepted), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(file, formats=formats)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise PixelsError(f"{where}: cannot be read ({error}); accepted: {accepted}") from None
        except UnidentifiedImageError:  # whose text has the address of an object in memory
            raise InputError(f"{where}: cannot be read (no such image is in it); accepted: {accepted}") from None


def fitted(image: Image.Image, shape: tuple[int, int, int], where: object) -> np.ndarray:
    """`image` decoded and made to fit, as `read_image` tells; it is closed. Raises `InputError` about `where`."""
    from PIL import Image, ImageOps

    height, width, channels = shape
    upright = _decoded(image, channels, where)
    return np.asarray(ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)).reshape(shape)


@dataclass(frozen=True)
class Frame:
    """Where a photo of `size` (height, width) lies in the image that a model takes: `scale` times as large, with its
    left upper corner at pixel (`left`, `top`)."""

    size: tuple[int, int]
    scale: tuple[float, float]
    """Down and across, which differ by what whole pixels need."""
    left: int
    top: int

    def in_photo(self, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`predictions` for the model's image, with their boxes and masks in pixels of the photo."""
        height, width = self.size
        found = dict(predictions)
        if "boxes" in found:
            corner, scale = np.array([self.left, self.top] * 2), np.array(self.scale[::-1] * 2)
            found["boxes"] = np.clip((found["boxes"] - corner) / scale, 0, [width, height] * 2)
        if "mask" in found:
            rows, columns = (((np.arange(length) + 0.5) * scale).astype(int) + first for length, scale, first in
                             zip(self.size, self.scale, (self.top, self.left), strict=True))  # fmt: skip
            found["mask"] = found["mask"][:, rows[:, None], columns]
        return found

    def boxes_in_image(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes in pixels of the photo, (…, 4), in those of the model's image."""
        return boxes * np.array(self.scale[::-1] * 2) + np.array([self.left, self.top] * 2)

    def mask_in_image(self, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """A mask of the photo, uint8, as that of the model's image of `shape`: the nearest pixel, `VOID` around it."""
        found = np.full(shape[:2], VOID, np.uint8)
        rows, columns = (((np.arange(round(length * scale)) + 0.5) / scale).astype(int) for length, scale in
                         zip(self.size, self.scale, strict=True))  # fmt: skip
        found[self.top : self.top + len(rows), self.left : self.left + len(columns)] = mask[rows[:, None], columns]
        return found


def read_photo(path: str | Path, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, Frame]:
    """The photo at `path`, uint8 (its height, its width, channels); all of it as uint8 of `shape`; and where in there.

    It keeps its proportions; what it leaves open is black. Raises `InputError` as `read_image` does.
    """
    return framed(open_image(path, path), shape, path)


def framed(
    image: Image.Image, shape: tuple[int, int, int], where: object, most: int | None = None
) -> tuple[np.ndarray, np.ndarray, Frame]:
    """`image` decoded, and framed as `read_photo` tells; it is closed. Raises `InputError` about `where`.

    The photo is made to fit `most` pixels a side, if they are given.
    """
    from PIL import Image

    height, width, channels = shape
    photo = _decoded(image, channels, where)
    if most:
        photo.thumbnail((most, most))
    ratio = min(height / photo.height, width / photo.width)
    new_height, new_width = (max(1, round(ratio * length)) for length in (photo.height, photo.width))
    top, left = (height - new_height) // 2, (width - new_width) // 2
    image = np.zeros(shape, np.uint8)
    resized = np.asarray(photo.resize((new_width, new_height), Image.Resampling.BILINEAR))
    image[top : top + new_height, left : left + new_width] = resized.reshape(new_height, new_width, channels)
    scale = new_height / photo.height, new_width / photo.width
    frame = Frame((photo.height, photo.width), scale, left, top)
    return np.asarray(photo).reshape(photo.height, photo.width, channels), image, frame


def read_values(path: str | Path) -> np.ndarray:
    """The value of each pixel, gray or index of a palette, of the PNG image at `path`: uint8 (height, width).

    Raises `InputError` for a file that is no such image.
    """
    accepted = "a PNG image of one channel, gray or of a palette, of 8 bits at most"
    with refusing(path, accepted), open_image(path, path, ("PNG",), accepted) as image:
        if image.mode not in ("1", "L", "P"):
            raise ValueError(f"its mode is {image.mode}")
        return np.asarray(image).astype(np.uint8)


def read_colors(path: str | Path) -> np.ndarray:
    """The PNG image at `path` as uint8 (height, width, 3); raises `InputError` as `read_values` does."""
    accepted = "a PNG image of 8 bits a channel"
    with refusing(path, accepted), open_image(path, path, ("PNG",), accepted) as image:
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"its mode is {image.mode}")
        return np.asarray(image.convert("RGB"))


def png(image: np.ndarray, software: str = "") -> bytes:
    """The PNG file of a uint8 image (height, width, 1 or 3); `software` is its text of this keyword."""
    from PIL import Image, PngImagePlugin

    file, texts = io.BytesIO(), PngImagePlugin.PngInfo()
    if software:
        texts.add_text("Software", software)
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG", pnginfo=texts)
    return file.getvalue()


def _decoded(image: Image.Image, channels: int, where: object) -> Image.Image:
    """The whole image, upright, in gray or in colors; `image` is closed. Raises `InputError` about `where`."""
    from PIL import ImageOps

    with refusing(where, PHOTO), image:
        if image.mode.startswith(("I", "F")):  # Pillow would clip 16 bits to 255 without a word
            raise ValueError(f"its mode is {image.mode}")
        return ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")

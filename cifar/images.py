"""Images from files that anybody may have made, and back."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from cifar.lazy import np
from cifar.untrusted import refusing


def read_image(path: str | Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The PNG or JPEG image at `path` as uint8 of `shape` (height, width, channels), in grey for one channel.

    It is resized until it covers the shape, and its centre is cut out. Raises `InputError` for a file that is missing
    or no such image, has more than 8 bits a channel, or declares more pixels than Pillow holds to be safe.
    """
    from PIL import Image, ImageOps

    height, width, channels = shape
    with refusing(path, f"a PNG or JPEG image of 8 bits a channel, at most {Image.MAX_IMAGE_PIXELS} pixels"):
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=("PNG", "JPEG"))
        with image:
            if image.mode.startswith(("I", "F")):  # Pillow would clip 16 bits to 255 without a word
                raise ValueError(f"its mode is {image.mode}")
            upright = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
            fitted = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(fitted).reshape(shape)


def png(image: np.ndarray) -> bytes:
    """The PNG file of a uint8 image (height, width, 1 or 3)."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG", optimize=True)
    return file.getvalue()

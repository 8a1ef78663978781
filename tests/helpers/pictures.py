"""Pictures that programs must not trust, and reading of files for a model's image."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cifar.images.io import decode, open_image
from cifar.images.photos import Preparation, prepare, whole
from cifar.images.placement import Placement


def bomb() -> bytes:
    """A PNG of 60 bytes that declares 100,000 × 100,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def read_image(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The image in a file, decoded as a whole, resized to cover `shape` and center-cropped, as Pillow does it."""
    height, width, channels = shape
    photo = decode(open_image(path, path), channels, path)
    return np.asarray(ImageOps.fit(photo, (width, height), Image.Resampling.BILINEAR)).reshape(shape)


def read_photo(path: Path, preparation: Preparation) -> tuple[np.ndarray, np.ndarray, Placement]:
    """The photo in a file, the model's image of it, and its position in that."""
    found = prepare(open_image(path, path), preparation, path)
    return whole(open_image(path, path), preparation.shape[2], path), found.image, found.position

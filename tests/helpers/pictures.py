"""Pictures that programs must not trust, and reading of files for a model's image."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from cifar.images.io import Letterbox, crop, letterbox, open_image


def bomb() -> bytes:
    """A PNG of 60 bytes that declares 100,000 × 100,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def read_image(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The image in a file, resized to cover `shape` and cropped at its center."""
    return crop(open_image(path, path), shape, path)[0]


def read_photo(path: Path, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, Letterbox]:
    """The photo in a file, it letterboxed to `shape`, and its position in that."""
    return letterbox(open_image(path, path), shape, path)

"""PNG files of masks: class numbers as gray levels or indices of a palette, or a color for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath
from cifar.images.io import open_image
from cifar.interfaces import VOID
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    from PIL import Image

INDICES = "a PNG image of one channel, gray or of a palette, of 8 bits at most"
COLORS = "a PNG image of 8 bits a channel"


def read_index_mask(path: TreePath) -> np.ndarray:
    """Read the gray levels or palette indices of a PNG image: uint8 (height, width); raises `InputError`."""
    with _opened(path, INDICES) as image:
        return _indices(image)


def read_color_mask(path: TreePath, colors: Mapping[int, int]) -> np.ndarray:
    """Read a PNG image whose `colors`, of 24 bits, have these values: uint8 (height, width); raises `InputError`."""
    with _opened(path, COLORS) as image:
        return _values(image, colors, path)


def read_mask(path: TreePath, colors: Mapping[int, int]) -> np.ndarray:
    """Read a PNG image of one channel like `read_index_mask`, any other like `read_color_mask`."""
    with _opened(path, INDICES) as image:
        return _indices(image) if image.mode in ("1", "L", "P") else _values(image, colors, path)


@contextmanager
def _opened(path: TreePath, accepted: str) -> Iterator[Image.Image]:
    with refusing(path, accepted), path.open() as file, open_image(file, path, ("PNG",), accepted) as image:
        yield image


def _indices(image: Image.Image) -> np.ndarray:
    if image.mode not in ("1", "L", "P"):
        raise ValueError(f"its mode is {image.mode}")
    return np.asarray(image).astype(np.uint8)


def _values(image: Image.Image, colors: Mapping[int, int], path: TreePath) -> np.ndarray:
    """The values of pixels; each run of pixels of one color is looked up once."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"its mode is {image.mode}")
    pixels = np.frombuffer(image.convert("RGB").tobytes("raw", "XBGR"), "<u4")  # the red is in the highest byte
    starts = np.flatnonzero(np.concatenate([[True], pixels[1:] != pixels[:-1]]))
    found = pixels[starts] >> 8
    known = np.array(sorted(colors), np.uint32)
    index = np.searchsorted(known, found).clip(max=len(known) - 1)
    if len(wrong := np.flatnonzero(known[index] != found)):
        y, x = divmod(int(starts[wrong[0]]), image.width)
        names = ", ".join(f"#{color:06x}" for color in colors)
        raise InputError(f"{path}: color #{found[wrong[0]]:06x} at x={x}, y={y}; accepted: {names}")
    values = np.array([colors[color] for color in sorted(colors)], np.uint8)[index]
    return np.repeat(values, np.diff(starts, append=len(pixels))).reshape(image.height, image.width)


def voc_colors(classes: int) -> dict[int, int]:
    """The color of each value of VOC's masks: bit n of a value's channels c, c + 3, … is bit 7 - n of channel c."""
    colors = {}
    for value in [*range(classes + 1), VOID]:
        channels = [sum((value >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)]
        colors[(channels[0] << 16) + (channels[1] << 8) + channels[2]] = value
    return colors

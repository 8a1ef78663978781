"""Photos decoded to the size of the model's images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from cifar.data.invalid_files import report_invalid
from cifar.data.photos.cache import NotCached, cached
from cifar.data.photos.listing import Options
from cifar.data.photos.threads import in_threads
from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath
from cifar.images.io import PHOTO, Letterbox, check_depth, crop, decode, letterbox, open_image, placed, upright_size
from cifar.interfaces import aligned_empty
from cifar.runtime.errors import InputError, warn
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    from PIL import Image

    from cifar.data.photos.cache import Store

GAP = 2
"""Photos are decoded at no less than this many times the size that they are resized to."""


@dataclass(frozen=True)
class Photos:
    """Decoded photos: `images` uint8 (n, height, width, channels), `sizes` int32 (n, 2), the (height, width) before,
    and `digests` uint8 (n, 32), the SHA-256 of the pixels. A photo that cannot be read has a message in `errors`."""

    images: np.ndarray
    sizes: np.ndarray
    digests: np.ndarray
    errors: Mapping[int, str]

    @property
    def keys(self) -> np.ndarray:
        """A number for each image that stands for its content, uint64 (n,)."""
        return np.ascontiguousarray(self.digests[:, :8]).view(np.uint64)[:, 0]


def decode_all(photos: Sequence[TreePath], options: Options) -> Photos:
    """Decode `photos` with all cores, or map what was decoded before.

    Those that cannot be read are reported to `invalid_files`.
    """
    errors: dict[int, str] = {}
    empty = Photos(np.empty((0, *options.shape), np.uint8), np.empty((0, 2), np.int32), np.empty((0, 32), np.uint8), {})
    if not photos:
        return empty

    def decode_rows(rows: Sequence[int], store: Store, sizes: np.ndarray, digests: np.ndarray) -> None:
        def decode_one(number: int) -> None:
            row = rows[number]
            try:
                image, position = decoded(photos[row], options)
            except InputError as error:
                errors[row] = str(error)
                return
            store(row, image)
            sizes[row] = position.size
            digests[row] = np.frombuffer(hashlib.sha256(image.data).digest(), np.uint8)

        in_threads(decode_one, len(rows), "decoding photos")

    try:
        found = cached(photos, options, decode_rows)
        if failed := [row for row in np.flatnonzero(~found.sizes.any(axis=1)).tolist() if row not in errors]:
            decode_rows(failed, lambda row, image: None, found.sizes.copy(), found.digests.copy())
            if len(errors) < len(failed):  # the disk or the network had failed
                found.remove()
                found = cached(photos, options, decode_rows)
        images, sizes, digests = found.images, found.sizes, found.digests
    except NotCached as reason:
        warn(f"decoded photos are not kept: {reason}")
        shape = (len(photos), *options.shape)
        images = aligned_empty(math.prod(shape)).reshape(shape)
        sizes, digests = np.zeros((len(photos), 2), np.int32), np.zeros((len(photos), 32), np.uint8)
        decode_rows(range(len(photos)), images.__setitem__, sizes, digests)
    for row in sorted(errors):
        report_invalid(InputError(errors[row]))
    return Photos(images, sizes, digests, errors)


def decoded(photo: TreePath, options: Options) -> tuple[np.ndarray, Letterbox]:
    """Decode `photo`, the first frame of an animation, to uint8 of `options.shape`; also return its position in it.

    Raises `InputError`. The mean difference to a photo that is decoded as a whole and then resized is below 1 of 255.
    """
    with refusing(photo, PHOTO), photo.open() as file:
        return (_decoded if options.reader > 1 else _decoded_1)(file, photo, options)


def _decoded(file: BinaryIO, photo: TreePath, options: Options) -> tuple[np.ndarray, Letterbox]:
    from PIL import Image

    image = open_image(file, photo)
    check_depth(image)
    position = placed(upright_size(image), options.shape, options.resize)
    top, left, bottom, right = position.covered(options.shape)
    _reduce(image, position)
    pixels = decode(image, 3, photo)
    scale = pixels.height / position.size[0], pixels.width / position.size[1]
    (x0, x1), (y0, y1) = (
        [min(max((edge - start) / own, 0), length) * reduced for edge in edges]
        for edges, start, own, length, reduced in (
            ((left, right), position.left, position.scale[1], position.size[1], scale[1]),
            ((top, bottom), position.top, position.scale[0], position.size[0], scale[0]),
        )
    )
    resized = pixels.resize((right - left, bottom - top), Image.Resampling.BILINEAR, (x0, y0, x1, y1))
    fitted = np.zeros(options.shape, np.uint8)
    fitted[top:bottom, left:right] = np.asarray(resized)
    return fitted, position


def _reduce(image: Image.Image, position: Letterbox) -> None:
    """Have a JPEG decoded at a half, a quarter or an eighth of its size, from fewer cosine coefficients."""
    wanted = GAP * max(position.scale)
    image.draft(None, (math.ceil(image.width * wanted), math.ceil(image.height * wanted)))


def _decoded_1(file: BinaryIO, photo: TreePath, options: Options) -> tuple[np.ndarray, Letterbox]:
    """The earlier version: whole photos, with the hidden colors of transparent ones, and the high bytes of 16 bits."""
    image = open_image(file, photo, ("PNG", "JPEG"), "a PNG or JPEG image of 8 bits a channel")
    if not image.mode.startswith(("I", "F")):
        image = image.convert("RGB")
    if options.resize == "crop":
        return crop(image, options.shape, photo)
    return letterbox(image, options.shape, photo)[1:]

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
from cifar.images.io import PHOTO, decode, open_image
from cifar.images.photos import Photo, Preparation, prepare
from cifar.images.placement import Placement
from cifar.interfaces import aligned_empty
from cifar.runtime.errors import InputError, warn
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    from cifar.data.photos.cache import Store


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
                photo = decoded(photos[row], options)
            except InputError as error:
                errors[row] = str(error)
                return
            store(row, photo.image)
            sizes[row] = photo.position.size
            digests[row] = np.frombuffer(hashlib.sha256(photo.image.data).digest(), np.uint8)

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


def decoded(photo: TreePath, options: Options) -> Photo:
    """Decode `photo`, the first frame of an animation, to uint8 of `options.shape`. Raises `InputError`."""
    with refusing(photo, PHOTO), photo.open() as file:
        if options.reader == 1:
            return _decoded_1(file, photo, options)
        image = open_image(file, photo)
        return prepare(image, Preparation(options.shape, options.resize), photo)


def _decoded_1(file: BinaryIO, photo: TreePath, options: Options) -> Photo:
    """The earlier version: whole photos, with the hidden colors of transparent ones, and the high bytes of 16 bits."""
    from PIL import Image, ImageOps

    image = open_image(file, photo, ("PNG", "JPEG"), "a PNG or JPEG image of 8 bits a channel")
    if not image.mode.startswith(("I", "F")):
        image = image.convert("RGB")
    pixels = decode(image, 3, photo)
    position = Placement.of((pixels.height, pixels.width), options.shape, options.resize)
    fitted = np.zeros(options.shape, np.uint8)
    top, left, bottom, right = position.covered
    fit = ImageOps.fit if options.resize == "crop" else Image.Image.resize
    fitted[top:bottom, left:right] = np.asarray(fit(pixels, (right - left, bottom - top), Image.Resampling.BILINEAR))
    return Photo(fitted, position)

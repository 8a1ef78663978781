"""Images that the SavedModel decodes from the bytes of their files."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cifar.export import saved_model
from cifar.images.photos import Preparation
from helpers.pictures import read_photo


@pytest.fixture(
    scope="module",
    params=[((8, 10, 3), "crop"), ((9, 7, 1), "crop"), ((16, 12, 3), "letterbox"), ((12, 16, 3), "stretch")],
    ids=str,
)
def decoded(request) -> SimpleNamespace:
    """What the SavedModel makes `of` the bytes of a file, and what `predict` makes of the file at a path."""
    preparation = Preparation(*request.param)
    decode = tf.function(lambda file: saved_model.decoded(file, preparation), [tf.TensorSpec((), tf.string)])
    return SimpleNamespace(of=decode, read=lambda path: read_photo(path, preparation)[1])


class TestImagesAsBytes:
    @pytest.mark.parametrize("size", [(640, 427), (40, 90), (10, 8), (9, 12), (3, 2), (1, 1)], ids=str)
    def test_fitted_as_predict_does(self, decoded, tmp_path, size):
        """From any format, mode and size, to the rounding."""
        noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
        photo = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        for mode, kind, options in [
            ("RGB", "PNG", {}), ("RGB", "JPEG", {}), ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
            ("L", "PNG", {}), ("L", "JPEG", {}), ("P", "PNG", {}), ("RGBA", "PNG", {}), ("1", "PNG", {}),
            ("CMYK", "JPEG", {}),
        ]:  # fmt: skip
            photo.convert(mode).save(tmp_path / "image", kind, **options)
            expected = decoded.read(tmp_path / "image").astype(int)
            found = decoded.of((tmp_path / "image").read_bytes()).numpy().astype(int)
            assert np.abs(found - expected).max() <= 1, (mode, kind)

    def test_what_is_no_such_image(self, decoded):
        def file(kind: str) -> bytes:
            buffer = io.BytesIO()
            Image.new("RGB", (20, 20)).save(buffer, kind)
            return buffer.getvalue()

        for content in (b"", b"hello", file("GIF"), file("BMP"), file("PNG")[:40], file("JPEG")[:40]):
            with pytest.raises(tf.errors.InvalidArgumentError):
                decoded.of(content)

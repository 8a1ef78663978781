"""A photo that is not square reaches the model as the same image, whichever way it is sent."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cifar.export import saved_model
from cifar.images import photos
from cifar.images.io import open_image
from cifar.images.photos import Preparation
from cifar.serving import decoding
from cifar.serving.batching import Batcher
from helpers.serving import asked, guarded

SHAPE = (16, 12, 3)
CROPPED = Preparation(SHAPE, "crop")


class Channels:
    """A task whose answer is nothing, and whose outputs are the images."""

    class_names = ("a", "b")

    def __init__(self, is_dense: bool):
        self.is_dense = is_dense

    def of_exported(self, outputs):
        return {}

    def decode(self, predictions):
        return [[]]


@pytest.mark.parametrize("resize", ["crop", "letterbox", "stretch"])
@pytest.mark.parametrize(("size", "kind"), [((96, 48), "PNG"), ((40, 190), "JPEG")], ids=str)
def test_same_image_by_all_ways(size, kind, resize):
    preparation = Preparation(SHAPE, resize)
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(file, kind)
    content = file.getvalue()
    expected = photos.prepare(open_image(io.BytesIO(content), "x"), preparation, "x").image
    exported = saved_model.decoded(tf.constant(content), preparation).numpy()
    assert np.abs(exported.astype(int) - expected).max() <= 1

    body = json.dumps({"instances": [{"b64": base64.b64encode(content).decode()}]}).encode()
    found = computed(
        ("/predict", content, f"image/{kind.lower()}"),
        ("/v1/models/none:predict", body, "application/json"),
        preparation=preparation,
    )
    for code, images in found:
        assert code == 200
        np.testing.assert_array_equal(images[0], expected)


def computed(*requests: tuple[str, bytes, str], preparation: Preparation = CROPPED) -> list[tuple[int, np.ndarray]]:
    """The code of the answer to each request (path, body, content type), and the images that reach the model."""
    service, app = guarded()
    given: list[np.ndarray] = []

    def compute(requests):
        given.extend(requests)
        return [{"image": images} for images in requests]

    async def main() -> list[tuple[int, np.ndarray]]:
        batcher = Batcher(compute, max_size=8, max_wait=0, max_queue=8)
        service.models = {"none": SimpleNamespace(
            name="none", run=SimpleNamespace(id="0"), task=Channels(preparation.resize == "letterbox"),
            image_shape=SHAPE, preparation=preparation, batcher=batcher, numbers=1,
        )}  # fmt: skip
        found = []
        for path, sent, form in requests:
            code, _, _ = await asked(app, "POST", path, sent, content_type=form)
            found.append((code, given.pop() if given else np.empty(0)))
        service.workers.end()
        return found

    return asyncio.run(main())


def test_formats_that_training_reads():
    """TIFF is refused by the service alone."""
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30), np.uint8)).convert("RGB")
    contents, expected = {}, photos.prepare(photo.copy(), CROPPED, "x").image
    for kind, options in {"PNG": {}, "WEBP": {"lossless": True}, "BMP": {}, "GIF": {}, "TIFF": {}}.items():
        file = io.BytesIO()
        photo.save(file, kind, **options)
        contents[kind] = file.getvalue()
        np.testing.assert_array_equal(photos.prepare(open_image(file, "x"), CROPPED, "x").image, expected)
    requests = [("/predict", content, f"image/{kind.lower()}") for kind, content in contents.items()]
    *found, (tiff_as_tiff, _), (tiff_as_png, _) = computed(*requests, ("/predict", contents["TIFF"], "image/png"))
    assert (tiff_as_tiff, tiff_as_png) == (415, 415)
    for code, images in found:
        assert code == 200
        np.testing.assert_array_equal(images[0], expected)
    target = decoding.Target(CROPPED, False, 8, 2**25).here
    for kind in ("WEBP", "BMP", "GIF"):
        with pytest.raises(decoding.Long):  # and go to a process that can be abandoned
            decoding.photo(contents[kind], target)


def test_large_photos_are_decoded_at_a_part_of_their_size():
    """The image is that of the whole photo, to a few of 255."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 6, 3), np.uint8)
    large, file = Image.fromarray(noise).resize((1800, 2700), Image.Resampling.BICUBIC), io.BytesIO()
    large.save(file, "JPEG", quality=90)
    opened = open_image(file, "x")
    found = photos.prepare(opened, CROPPED, "x").image.astype(int)
    assert opened.size == (225, 338)
    expected = photos.prepare(large, CROPPED, "x").image
    assert np.abs(found - expected).max() <= 4

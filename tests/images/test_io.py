"""PNG and JPEG files as arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cifar.images.io import encode_png
from cifar.runtime.errors import InputError
from helpers.pictures import read_image


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 9, 3)])
def test_png_holds_the_image_to_the_bit(tmp_path, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (tmp_path / "image.png").write_bytes(encode_png(image))
    np.testing.assert_array_equal(read_image(tmp_path / "image.png", shape), image)


@given(st.binary(max_size=200), st.integers(0, 60))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_an_image_or_refused(tmp_path, noise, keep):
    good = tmp_path / "good.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)).save(good)
    path = tmp_path / "any.png"
    path.write_bytes(good.read_bytes()[:keep] + noise)
    try:
        image = read_image(path, (4, 5, 3))
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert (image.shape, image.dtype) == ((4, 5, 3), np.uint8)

"""Factors of normalizations that move into convolutions."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cifar.export.folding import Affine, folded
from helpers.models import backbone, small


def random_model(*choice: str) -> keras.Model:
    """A model with random statistics and factors of its normalizations, some of them negative."""
    features = backbone(*choice, shape=(16, 16, 3))
    model, random = keras.Model(features.input, list(features.output.values())[-1]), np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in layer.weights:
                value = random.normal(0, 1, weight.shape)
                weight.assign(value**2 + 1e-4 if weight is layer.moving_variance else value)
    return model


@pytest.mark.parametrize(("name", "count"), [("cnn3", 2), ("airbench", 2), ("resnet", 0)])
def test_the_answers_stay(name, count):
    """Where something stands between convolution and normalization; converters treat the others."""
    model = random_model(*small(name))
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    expected, copy = model.predict(images, verbose=0), folded(model)
    np.testing.assert_allclose(copy.predict(images, verbose=0), expected, rtol=1e-3, atol=1e-4)
    assert sum(isinstance(layer, Affine) for layer in copy.layers) == count

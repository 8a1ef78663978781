"""Test-time augmentation against the same by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cifar.training import tta


@pytest.fixture
def model() -> keras.Model:
    image = keras.Input((6, 5, 2), dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.Dense(4, activation="softmax")(x), name="some")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 6, 5, 2), np.uint8)


def by_hand(model, weighted) -> np.ndarray:
    """The softmax of the weighted mean of logits."""
    mean = sum(weight * np.log(model.predict(images, verbose=0)) for weight, images in weighted)
    return np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)


def test_none_is_the_model_itself(model):
    assert tta.averaged(model, "none") is model


def test_flip(model, images):
    expected = by_hand(model, [(0.5, images), (0.5, images[:, :, ::-1])])
    np.testing.assert_allclose(tta.averaged(model, "flip").predict(images, verbose=0), expected, atol=1e-5)


def test_flip_shift(model, images):
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    moved = [(0.5, images), (0.25, padded[:, :-2, :-2]), (0.25, padded[:, 2:, 2:])]
    expected = by_hand(model, [(w / 2, x[:, :, ::step]) for w, x in moved for step in (1, -1)])
    averaged = tta.averaged(model, "flip_shift")
    assert (averaged.name, averaged.input.dtype) == ("some", "uint8")
    np.testing.assert_allclose(averaged.predict(images, verbose=0), expected, atol=1e-5)

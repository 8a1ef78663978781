"""Every model that is registered, under the settings of its YAML."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from cifar.environment import ROOT
from cifar.errors import InputError
from cifar.registry import MODELS


def settings_of(name: str) -> dict:
    """What the model's YAML says to its builder."""
    settings = yaml.safe_load((ROOT / "conf/model" / f"{name}.yaml").read_text())
    settings.pop("head", None)
    return settings


@pytest.mark.parametrize("shape", [(32, 32, 3), (16, 16, 1)], ids=str)
@pytest.mark.parametrize("name", MODELS.names())
def test_model(name, shape, tmp_path):
    model = MODELS.build(settings_of(name), image_shape=shape)
    assert (model.input.shape, model.input.dtype) == ((None, *shape), "uint8")

    assert model.output
    for key, feature in model.output.items():
        stride = 2 ** int(key.removeprefix("P"))
        assert feature.shape[:3] == (None, -(-shape[0] // stride), -(-shape[1] // stride)), key

    images = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype="uint8")
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_mean(feature**2) for feature in model(images, training=True).values())
    weights = model.trainable_variables
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    dead = [weight.path for weight, gradient in zip(weights, gradients, strict=True) if gradient is None]
    assert not dead
    assert all(np.isfinite(gradient).all() for gradient in gradients)

    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for key, feature in model(images).items():
        np.testing.assert_allclose(again(images)[key], feature, atol=1e-5)


def test_cnn3_counts():
    model = MODELS.build(settings_of("cnn3"), image_shape=(32, 32, 3))
    convolutions = sum(3 * 3 * inputs * outputs + outputs for inputs, outputs in ((3, 32), (32, 64), (64, 128)))
    assert model.count_params() == convolutions + 4 * (32 + 64 + 128) == 94_144


def test_cnn3_takes_any_number_of_blocks():
    model = MODELS.build({**settings_of("cnn3"), "filters": [4, 5, 6, 7]}, image_shape=(17, 16, 3))
    assert {key: feature.shape[1:] for key, feature in model.output.items()} == {
        "P1": (8, 8, 4), "P2": (4, 4, 5), "P3": (2, 2, 6), "P4": (1, 1, 7),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "expected"),
    [([], "at least 1 item"), ([8] * 5, "at most 4 entries for images of 28×28")],
    ids=["none", "too many"],
)
def test_cnn3_refuses_no_block_and_more_than_the_image_can_be_halved(filters, expected):
    with pytest.raises(InputError, match=rf"^model\.filters=\[.*\]: should have {expected}"):
        MODELS.build({**settings_of("cnn3"), "filters": filters}, image_shape=(28, 28, 1))

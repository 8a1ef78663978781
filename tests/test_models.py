"""Every model that is registered, under the settings of its YAML."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from sklearn.datasets import load_digits

from cifar.environment import ROOT
from cifar.errors import InputError
from cifar.registry import MODELS

CHANGED = {
    "pretrained": {"network": "MobileNet", "weights": "none", "size": 32, "freeze": "none"},
    "from_run": {"freeze": "none", "model": {"name": "cnn3", "filters": [8, 8], "kernel_size": 3, "dropout": 0.25}},
}
"""Settings that the YAML leaves open, or that take a network or minutes."""


def settings_of(name: str) -> dict:
    """What the model's YAML says to its builder."""
    settings = yaml.safe_load((ROOT / "conf/model" / f"{name}.yaml").read_text())
    settings.pop("head", None)
    return settings | CHANGED.get(name, {})


@pytest.mark.parametrize("shape", [(32, 32, 3), (16, 16, 1)], ids=str)
@pytest.mark.parametrize("name", MODELS.names())
def test_model(name, shape, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype="uint8")
    settings = settings_of(name)
    model = MODELS.build(settings, image_shape=shape, train_images=images, start=None)
    size = settings.get("size") or shape[0]
    assert (model.input.shape, model.input.dtype) == ((None, *shape), "uint8")

    assert model.output
    for key, feature in model.output.items():
        stride = 2 ** int(key.removeprefix("P"))
        assert feature.shape[:3] == (None, -(-size // stride), -(-size // stride)), key

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


class TestAirbench:
    """Against what Jordan 2024, arXiv 2404.00498, says of the network."""

    @pytest.fixture
    def images(self):
        return load_digits().images.astype("uint8").repeat(2, axis=1).repeat(2, axis=2)[:200, ..., None] * 15

    def build(self, images, **changes):
        settings = {**settings_of("airbench"), "widths": [8, 12], **changes}
        return MODELS.build(settings, image_shape=images.shape[1:], train_images=images)

    def test_parameters_of_the_published_network(self):
        images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype="uint8")
        settings = {**settings_of("airbench"), "whitening_padding": "valid"}
        model = MODELS.build(settings, image_shape=(32, 32, 3), train_images=images)
        kernels = [24 * 64, 64 * 64, 64 * 256, 256 * 256, 256 * 256, 256 * 256]
        biases = 24 + 2 * (64 + 256 + 256)
        assert sum(weight.shape.num_elements() for weight in model.trainable_weights) == 9 * sum(kernels) + biases
        assert [feature.shape[1] for feature in model.output.values()] == [15, 7, 3]

    def test_whitened_patches_do_not_correlate(self, images):
        model = self.build(images)
        normalised, whitening = model.layers[1], model.get_layer("whitening")
        x = keras.ops.convert_to_numpy(whitening(normalised(images)))[:, :-1, :-1].reshape(-1, 8)
        # Patches of digits have directions without any variance; epsilon keeps those at less than one.
        covariance = x.T @ x / len(x)
        np.testing.assert_allclose(covariance[:4, :4], np.diag(np.diag(covariance)[:4]), atol=0.02)
        np.testing.assert_allclose(x[:, :4], -x[:, 4:], atol=1e-4)
        assert np.diag(covariance).max() == pytest.approx(1, abs=0.02)
        assert not whitening.kernel.trainable and whitening.bias.trainable

    def test_convolutions_begin_as_identity(self, images):
        x = np.random.default_rng(0).normal(size=(2, 6, 6, 8)).astype("float32")
        same, wider = [layer for layer in self.build(images).layers if layer.name.startswith("conv2d")][1:3]
        np.testing.assert_allclose(same(x), x, atol=1e-6)
        np.testing.assert_allclose(wider(x)[..., :8], x, atol=1e-6)
        assert np.std(wider(x)[..., 8:]) > 0.1

    def test_too_many_groups(self, images):
        with pytest.raises(InputError, match=r"^model\.widths=\[8, 8, 8, 8\]: should have at most 3 entries .* 16×16$"):
            self.build(images, widths=[8] * 4, whitening_padding="valid")

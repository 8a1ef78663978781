"""Where in an image an answer comes from, held against what is known of it otherwise."""

from __future__ import annotations

import asyncio

import keras
import numpy as np
import pytest
import tensorflow as tf

from cifar.images import overlay
from cifar.serving.batching import Batcher
from cifar.serving.explaining import explainer, grad_cam

SHAPE = (16, 16, 1)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, *SHAPE), np.uint8)


def pooled(dtype: str = "float32") -> keras.Model:
    """A network whose classes are means of its last maps, in their own weights."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype)
    image = keras.Input(SHAPE, dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="maps")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(4, activation="softmax", name="probabilities", dtype="float32")(x)
    keras.config.set_dtype_policy("float32")
    return keras.Model(image, outputs)


def heat_of(network: keras.Model, images: np.ndarray, classes: list[int]) -> np.ndarray:
    return grad_cam(network)(tf.constant(images), tf.constant(classes)).numpy()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 0.02)])
def test_of_means_it_is_the_class_activation_map(images, dtype, tolerance):
    """Zhou et al. 2016, arXiv:1512.04150: maps weighted by the kernel, of which Grad-CAM is the general case."""
    network = pooled(dtype)
    maps = keras.Model(network.input, network.get_layer("maps").output)(images).numpy().astype("float32")
    classes = [2, 0, 3]
    kernel = network.get_layer("probabilities").kernel.numpy().T
    best = network(images).numpy().argmax(axis=1)
    expected, strongest = (
        np.maximum((maps * kernel[chosen][:, None, None]).sum(axis=-1), 0) for chosen in (classes, best)
    )
    assert expected.any() and (best != classes).any()
    most = np.maximum(expected, strongest).max(axis=(1, 2), keepdims=True)
    expected /= np.maximum(most, 1e-9)
    heat = heat_of(network, images, classes)
    assert heat.shape == (3, 8, 8)
    np.testing.assert_allclose(heat, expected, atol=tolerance)

    network.trainable = False
    np.testing.assert_array_equal(heat_of(network, images, classes), heat)


def test_negative_evidence_gives_no_heat(images):
    network = pooled()
    network.get_layer("probabilities").kernel.assign(-tf.ones((6, 4)))
    assert not heat_of(network, images, [0, 1, 2]).any()


def test_together_as_alone(images):
    network = pooled()

    async def main() -> list[np.ndarray]:
        batcher = Batcher(explainer(network), max_size=8, max_wait=50, max_queue=8)
        return await asyncio.gather(*(batcher.submit([(image, k)]) for k, image in enumerate(images)))

    np.testing.assert_allclose(np.concatenate(asyncio.run(main())), heat_of(network, images, [0, 1, 2]), atol=1e-6)


def test_drawn():
    heat = np.zeros((4, 4))
    heat[1, 2] = 1
    image = np.full((8, 8, 1), 100, np.uint8)
    drawn = overlay.draw_heatmap(image, heat)
    assert (drawn.shape, drawn.dtype) == ((384, 384, 3), np.uint8)
    pixels = drawn[::48, ::48].astype(int)
    assert (drawn == pixels.repeat(48, axis=0).repeat(48, axis=1)).all()
    brightness = pixels.sum(axis=-1)
    assert (brightness[2:4, 4:6] > brightness[0, 0] + 100).all()
    assert (brightness[6:] == brightness[0, 0]).all(), "what is far from the heat has the color of 0"

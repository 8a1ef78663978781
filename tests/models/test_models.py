"""Every model that is registered: with the settings of its YAML, and small enough to be trained here."""

from __future__ import annotations

import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from cifar.config.compose import resolve
from cifar.config.registry import MODELS
from cifar.interfaces import Dataset
from cifar.nn import layers
from cifar.runtime.errors import InputError
from cifar.serving.explaining import grad_cam
from cifar.tasks.classification import Classification
from helpers.models import backbone, model_settings, small
from helpers.runs import composed


def classifier(*overrides: str, shape: tuple[int, int, int] = (16, 16, 1)) -> keras.Model:
    task = Classification(tuple("0123456789"), classifier=model_settings(*overrides).classifier)
    return task.model(backbone(*overrides, shape=shape))


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """64 images (64, 16, 16, 1) uint8 and their targets (64, 10)."""
    images, labels = load_digits(return_X_y=True)
    images = np.kron(images[:64].reshape(64, 8, 8, 1), np.ones((1, 2, 2, 1)))
    return (images * 255 / 16).astype("uint8"), np.eye(10, dtype="float32")[labels[:64]]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(32, 64, 3), (16, 16, 1)], ids=str)
@pytest.mark.parametrize("name", MODELS.names())
def test_features_are_a_pyramid_that_trains(name, shape):
    keras.utils.set_random_seed(0)
    own = ["model.size=null"] if name == "pretrained" and shape[0] != shape[1] else []
    model = backbone(*small(name), *own, shape=shape)
    sizes = [getattr(model_settings(*small(name), *own), "size", None) or side for side in shape[:2]]
    assert (model.input.shape, model.input.dtype) == ((None, *shape), "uint8")

    assert model.output
    for key, feature in model.output.items():
        stride = 2 ** int(key.removeprefix("P"))
        assert feature.shape[:3] == (None, *(-(-size // stride) for size in sizes)), key

    images = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype="uint8")
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_mean(feature**2) for feature in model(images, training=True).values())
    weights = model.trainable_variables
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    dead = [weight.path for weight, gradient in zip(weights, gradients, strict=True) if gradient is None]
    assert not dead
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS.names())
def test_overfits(name, digits):
    images, targets = digits
    keras.utils.set_random_seed(0)
    model = classifier(*small(name))
    model.compile(keras.optimizers.Adam(1e-2), "categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    for _ in range(150):
        model.reset_metrics()
        if model.train_on_batch(images, targets, return_dict=True)["accuracy"] == 1:
            break
    else:
        pytest.fail("does not learn 64 images by heart")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS.names())
def test_is_saved_and_carried_elsewhere(name, digits, tmp_path):
    images, targets = digits
    keras.utils.set_random_seed(0)
    model = classifier(*small(name))
    model(images, training=True)  # the moving statistics are no longer the initial ones

    expected = model(images)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(images), expected, atol=1e-5)

    layers.portable(model).save(tmp_path / "portable.keras")
    portable = keras.models.load_model(tmp_path / "portable.keras")
    assert {type(operation).__module__.split(".")[0] for operation in portable._flatten_layers()} == {"keras"}
    assert {type(operation).__module__.split(".")[0] for operation in portable.operations} == {"keras"}
    np.testing.assert_allclose(portable(images), expected, atol=1e-5)

    # Each supports Grad-CAM.
    heat = grad_cam(model)(tf.constant(images), tf.constant(targets.argmax(axis=1), tf.int32)).numpy()
    assert min(heat.shape[1:]) >= 7
    assert (heat.min(), heat.max()) == (0, 1)

    # Settings, classes, image shape and weights are all of it: those who have a run need not have its data.
    model.save_weights(tmp_path / "model.weights.h5")
    blank, stated = Dataset.placeholder("digits", "0123456789", (16, 16, 1)), model_settings(*small(name))
    body = stated.build(image_shape=blank.image_shape, train_images=blank.train.images, start=None)
    rebuilt = Classification(blank.class_names, classifier=stated.classifier).model(body)
    rebuilt.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(rebuilt(images), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS.names())
def test_trains_in_bfloat16(name, digits):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = classifier(*small(name))
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile("adam", "categorical_crossentropy", run_eagerly=True)
    before = [weight.numpy() for weight in model.trainable_weights]
    assert math.isfinite(model.train_on_batch(*digits))
    assert any((old != new.numpy()).any() for old, new in zip(before, model.trainable_weights, strict=True))
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}


COUNTS = [
    ("cnn3", 357_258),
    ("cnn", 307_946),
    ("resnet20", 269_722),
    ("resnet32", 464_154),
    ("resnet56", 853_018),
    ("resnet110", 1_727_962),
    ("resnet18", 11_173_962),
    ("preact_resnet model.depth=18 model.filters=[64,128,256,512]", 11_172_170),
    ("wide_resnet", 2_748_890),
    ("wide_resnet model.depth=28 model.width=10", 36_479_194),
    ("vgg", 14_986_698),
    ("all_conv", 1_369_738),
    ("mobilenet", 3_217_226),
    ("convmixer", 594_186),
    ("convmixer model.kernel_size=9 model.patch_size=1", 706_570),
    ("cct", 284_490),
    ("cct model.convolutions=1 model.depth=7 model.embed_dim=256 model.num_heads=4 model.mlp_dim=512", 3_765_514),
]
"""Weights that are trained, with the head for CIFAR-10.

In the literature, from `resnet20` on: 0.27, 0.46, 0.85, 1.7, 11.17, 11.17, 2.7, 36.5, 15.0 (the biases that batch
normalization makes idle left out), 1.4, 3.2, 0.59, 0.7, 0.28 and 3.76 million.
"""


@pytest.mark.parametrize(("choice", "count"), COUNTS, ids=[choice for choice, _ in COUNTS])
def test_counts(choice, count):
    model = classifier(*f"model={choice}".split(), shape=(32, 32, 3))
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == count


def test_names_of_variants_differ():
    names = {
        "model=resnet20": "resnet20",
        "model=resnet56": "resnet56",
        "model=resnet20 model.depth=44": "resnet44",
        "model=wide_resnet model.depth=28 model.width=10": "wide_resnet28_10",
    }
    for choice, name in names.items():
        assert resolve(composed("data=digits", *choice.split())).tracking.name == name


REFUSED = [
    ("cnn3 model.filters=[]", "model.filters=[]: should have at least 1 item"),
    ("cnn3 model.filters=[8,8,8,8]", "model.filters=[8, 8, 8, 8]: should have at most 3 entries for images of 8×8"),
    (f"cnn model.blocks=[{','.join(['{filters:8,pool:max}'] * 5)}]",
     "model.blocks: halves images 5 times; should be used with images of at least 16×16"),
    ("vgg", "model.filters=[64, 128, 256, 512, 512]: halves images 5 times; should be used with images "
            "of at least 16×16, not 8×8"),
    ("resnet model.depth=21", "model.depth=21: should be 8, 14, 20 … with 3 stages"),
    ("resnet model.depth=2", "model.depth=2: should be 8, 14, 20 …"),
    ("wide_resnet model.depth=20", "model.depth=20: should be 10, 16, 22 …"),
    ("resnet model.filters=[16,8] model.depth=6", "model.shortcut=A: should be B if a stage has fewer filters"),
    ("resnet model.filters=[8,8,8,8,8,8] model.depth=14", "model.filters=[8, 8, 8, 8, 8, 8]: halves images 5 times"),
    ("cct model.num_heads=3", "model.num_heads=3: should divide model.embed_dim=128"),
]  # fmt: skip


def test_a_network_that_resizes_takes_square_images():
    with pytest.raises(InputError, match=r"model\.size=32: images of 40×48 are not square; accepted: null"):
        backbone(*small("pretrained"), shape=(40, 48, 3))


@pytest.mark.parametrize(("choice", "line"), REFUSED, ids=lambda text: text[:40])
def test_refused_on_digits(choice, line):
    with pytest.raises(InputError, match="^" + re.escape(line)):
        backbone(*f"model={choice}".split(), shape=(8, 8, 1))


def test_cnn3_takes_any_number_of_blocks():
    model = backbone("model=cnn3", "model.filters=[4,5,6,7]", shape=(17, 16, 3))
    assert {key: feature.shape[1:] for key, feature in model.output.items()} == {
        "P1": (8, 8, 4), "P2": (4, 4, 5), "P3": (2, 2, 6), "P4": (1, 1, 7),
    }  # fmt: skip


def test_cnn_has_the_blocks_of_its_list():
    blocks = "[{filters:4},{filters:5,repeat:2,kernel_size:1,pool:max},{filters:6,dropout:0.5}]"
    model = backbone("model=cnn", f"model.blocks={blocks}", shape=(9, 8, 3))
    assert {key: feature.shape[1:] for key, feature in model.output.items()} == {"P0": (9, 8, 4), "P1": (5, 4, 6)}
    kernels = [layer.kernel.shape for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert kernels == [(3, 3, 3, 4), (1, 1, 4, 5), (1, 1, 5, 5), (3, 3, 5, 6)]


def test_shortcut_a_takes_every_other_pixel_and_adds_zeros(digits):
    model = backbone("model=resnet", "model.depth=6", "model.filters=[4,7]", "model.shortcut=A")
    _, *branches = (layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    for layer in branches:
        layer.gamma.assign(tf.zeros_like(layer.gamma))  # what is left are the shortcuts
    features = {key: np.asarray(feature) for key, feature in model(digits[0]).items()}
    assert features["P0"].any()
    np.testing.assert_array_equal(features["P1"][..., 1:5], features["P0"][:, ::2, ::2])
    assert not features["P1"][..., [0, 5, 6]].any()


def test_stochastic_depth_leaves_out_more_of_the_later_blocks():
    model = backbone("model=resnet", "model.depth=8", "model.stochastic_depth=0.5")
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.rate for layer in dropouts] == pytest.approx([0.5 / 3, 1 / 3, 0.5])
    assert {layer.noise_shape for layer in dropouts} == {(None, 1, 1, 1)}


def test_depthwise_weights_begin_as_those_of_he():
    model = backbone("model=convmixer", "model.width=512", "model.depth=1")
    (layer,) = (layer for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D))
    assert np.std(layer.kernel) == pytest.approx(math.sqrt(2 / 25), rel=0.05)


class TestAirbench:
    """Against what Jordan 2024, arXiv 2404.00498, says of the network."""

    @pytest.fixture
    def images(self):
        return load_digits().images.astype("uint8").repeat(2, axis=1).repeat(2, axis=2)[:200, ..., None] * 15

    def build(self, images, **changes):
        stated = model_settings("model=airbench", "model.widths=[8,12]")
        return stated.changed(**changes).build(image_shape=images.shape[1:], train_images=images)

    def test_parameters_of_the_published_network(self):
        model = backbone("model=airbench", "model.whitening_padding=valid", shape=(32, 32, 3))
        kernels = [24 * 64, 64 * 64, 64 * 256, 256 * 256, 256 * 256, 256 * 256]
        biases = 24 + 2 * (64 + 256 + 256)
        assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == 9 * sum(kernels) + biases
        assert [feature.shape[1] for feature in model.output.values()] == [15, 7, 3]

    def test_whitened_patches_do_not_correlate(self, images):
        model = self.build(images)
        normalized, whitening = model.layers[1], model.get_layer("whitening")
        x = keras.ops.convert_to_numpy(whitening(normalized(images)))[:, :-1, :-1].reshape(-1, 8)
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

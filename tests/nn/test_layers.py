"""The layers against Keras's own of the same name."""

from __future__ import annotations

import hashlib
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar.nn import layers
from helpers.processes import run_warm

SEEDS = st.integers(0, 2**32 - 1)
POLICIES = {"float32": 1e-5, "mixed_bfloat16": 2**-7, "mixed_float16": 2**-10}
"""Each with the resolution of its activations."""


def assert_close(actual, desired, resolution: float):
    """The two differ by a few units of `resolution` of the largest."""
    actual, desired = (keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in (actual, desired))
    np.testing.assert_allclose(actual, desired, rtol=0, atol=4 * resolution * max(1.0, np.abs(desired).max()))


def pair(shape, **config) -> tuple[keras.Layer, keras.Layer]:
    """Our normalization and Keras's, built for `shape`, with the same random weights."""
    ours, theirs = layers.BatchNormalization(**config), keras.layers.BatchNormalization(**config)
    ours.build(shape)
    theirs.build(shape)
    random = np.random.default_rng(0)
    ours.set_weights([random.uniform(0.5, 2.0, weight.shape) for weight in ours.weights])
    theirs.set_weights(ours.get_weights())
    return ours, theirs


def train(layer, batches, upstream, **arguments):
    """The outputs and the gradients by input and by weights of the last of `batches`, all given to `layer`."""
    for batch in batches:
        x = tf.cast(batch, layer.compute_dtype)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, **arguments)
        sources = [x, *(weight.value for weight in layer.trainable_weights)]
        gradients = tape.gradient(y, sources, output_gradients=tf.cast(upstream, y.dtype))
    return y, gradients


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(3, 9), st.integers(3, 9), st.integers(1, 8)),
    policy=st.sampled_from(["float32", "mixed_bfloat16"]),
    config=st.fixed_dictionaries(
        {
            "filters": st.integers(1, 9),
            "kernel_size": st.integers(1, 3),
            "strides": st.integers(1, 2),
            "padding": st.sampled_from(["same", "valid"]),
            "activation": st.sampled_from([None, "relu"]),
            "use_bias": st.booleans(),
        }
    ),
    seed=SEEDS,
)
def test_convolution_is_that_of_keras(shape, policy, config, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=shape).astype("float32")
    config |= {"dtype": policy, "bias_initializer": "normal"}
    ours, theirs = layers.Conv2D(**config), keras.layers.Conv2D(**config)
    ours.build(shape)
    theirs.build(shape)
    theirs.set_weights(ours.get_weights())
    upstream = random.normal(size=ours.compute_output_shape(shape)).astype("float32")
    (y, gradients), (expected, expected_gradients) = (train(layer, [x], upstream) for layer in (ours, theirs))
    assert y.dtype == expected.dtype
    assert_close(y, expected, POLICIES[policy])
    for gradient, desired in zip(gradients, expected_gradients, strict=True):
        assert_close(gradient, desired, 4 * POLICIES[policy])


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(3, 9), st.integers(3, 9), st.integers(1, 3)),
    policy=st.sampled_from(["float32", "mixed_bfloat16"]),
    config=st.fixed_dictionaries(
        {
            "pool_size": st.tuples(st.integers(1, 3), st.integers(1, 3)),
            "strides": st.none() | st.integers(1, 3),
            "padding": st.sampled_from(["same", "valid"]),
        }
    ),
    seed=SEEDS,
)
def test_max_pooling_by_xla_is_that_of_keras(shape, policy, config, seed):
    random = np.random.default_rng(seed)
    x = random.permutation(-np.linspace(0, 1, math.prod(shape), dtype="float32")).reshape(shape)
    ours, theirs = (kind.MaxPooling2D(**config, dtype=policy) for kind in (layers, keras.layers))
    upstream = random.normal(size=theirs.compute_output_shape(shape)).astype("float32")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(layers, "tf", None)
        y, gradients = train(ours, [x], upstream)
    expected, expected_gradients = train(theirs, [x], upstream)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y, expected)
    if policy == "float32":  # in bfloat16, TensorFlow may choose another one of equals
        assert_close(gradients[0], expected_gradients[0], 1e-6)


def test_max_pooling_by_xla_gives_the_gradient_to_the_first_of_equals_and_passes_nan_on(monkeypatch):
    monkeypatch.setattr(layers, "tf", None)
    x = np.zeros((1, 4, 4, 1), "float32")
    y, gradients = train(layers.MaxPooling2D(), [x], np.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(y, np.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(np.squeeze(gradients[0]), np.pad([[1, 0, 1], [0, 0, 0], [1, 0, 1]], (0, 1)))
    for place in range(4):
        x[:, :2, :2, :] = np.where(np.arange(4) == place, np.nan, [3, 1, 4, 2]).reshape(1, 2, 2, 1)
        np.testing.assert_array_equal(np.squeeze(layers.MaxPooling2D()(x)), [[np.nan, 0], [0, 0]])


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.integers(1, 20)),
    policy=st.sampled_from(sorted(POLICIES)),
    center=st.booleans(),
    scale=st.booleans(),
    momentum=st.sampled_from([0.0, 0.9, 0.99]),
    seed=SEEDS,
)
def test_batch_normalization_trains_like_keras(shape, policy, center, scale, momentum, seed):
    random = np.random.default_rng(seed)
    batches = random.normal(random.normal(size=shape[-1]), random.uniform(0.5, 2), (3, *shape)).astype("float32")
    upstream = random.normal(size=shape).astype("float32")
    both = ours, theirs = pair(shape, dtype=policy, center=center, scale=scale, momentum=momentum)
    (y, gradients), (expected, expected_gradients) = (train(layer, batches, upstream, training=True) for layer in both)
    assert y.dtype == expected.dtype
    assert_close(y, expected, POLICIES[policy])
    for gradient, desired in zip(gradients, expected_gradients, strict=True):
        assert_close(gradient, desired, 4 * POLICIES[policy])
    for weight, desired in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_close(weight, desired, 1e-6)
    assert_close(ours(batches[0]), theirs(batches[0]), POLICIES[policy])


def test_batch_normalization_frozen():
    ours, theirs = pair((8, 4, 4, 3))
    ours.trainable = theirs.trainable = False
    before = ours.get_weights()
    x = np.random.default_rng(0).normal(size=(8, 4, 4, 3)).astype("float32")
    (y, gradients), (expected, expected_gradients) = (train(layer, [x], x, training=True) for layer in (ours, theirs))
    assert_close(y, expected, 1e-5)
    assert_close(gradients[0], expected_gradients[0], 1e-5)
    np.testing.assert_equal(ours.get_weights(), before)


@pytest.mark.parametrize(
    ("shape", "config"),
    [((6, 5), {}), ((6, 4, 4, 3), {"axis": 1}), ((6, 4, 4, 3), {"renorm": True}), ((6, 4, 4, 3), {"dtype": "float64"})],
)
def test_batch_normalization_leaves_the_rest_to_keras(shape, config):
    ours, theirs = pair(shape, **config)
    x = np.random.default_rng(0).normal(size=shape).astype(config.get("dtype", "float32"))
    np.testing.assert_array_equal(ours(x, training=True), theirs(x, training=True))
    np.testing.assert_equal(ours.get_weights(), theirs.get_weights())


def test_batch_normalization_masked():
    ours, theirs = pair((6, 4, 4, 3))
    x = np.random.default_rng(0).normal(size=(6, 4, 4, 3)).astype("float32")
    mask = np.random.default_rng(1).uniform(size=(6, 4, 4)) < 0.5
    np.testing.assert_array_equal(ours(x, training=True, mask=mask), theirs(x, training=True, mask=mask))
    np.testing.assert_equal(ours.get_weights(), theirs.get_weights())


def test_without_tensorflow(monkeypatch):
    monkeypatch.setattr(layers, "tf", None)
    ours, theirs = pair((6, 4, 4, 3))
    x = np.random.default_rng(0).normal(size=(6, 4, 4, 3)).astype("float32")
    np.testing.assert_array_equal(ours(x, training=True), theirs(x, training=True))
    np.testing.assert_array_equal(layers.Activation("gelu")(x), keras.layers.Activation("gelu")(x))
    dropouts = layers.Dropout(0.5, seed=1), keras.layers.Dropout(0.5, seed=1)
    np.testing.assert_array_equal(*(dropout(x, training=True) for dropout in dropouts))


@settings(max_examples=15, deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    policy=st.sampled_from(sorted(POLICIES)),
    name=st.sampled_from(["gelu", "relu"]),
    seed=SEEDS,
)
def test_activation_is_that_of_keras(shape, policy, name, seed):
    x, upstream = np.random.default_rng(seed).normal(0, 3, (2, *shape)).astype("float32")
    ours, theirs = (kind.Activation(name, dtype=policy) for kind in (layers, keras.layers))
    (y, gradients), (expected, expected_gradients) = (train(layer, [x], upstream) for layer in (ours, theirs))
    assert y.dtype == expected.dtype
    assert_close(y, expected, POLICIES[policy])
    assert_close(gradients[0], expected_gradients[0], 4 * POLICIES[policy])


RATES = st.sampled_from([0.25, 0.5, 0.75, 1 / 256]) | st.floats(0.01, 0.99)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    rate=RATES,
    dtype=st.sampled_from(["float32", "bfloat16", "float16"]),
    seed=st.integers(0, 2**31 - 1),
)
def test_dropout_is_zero_or_scaled(shape, rate, dtype, seed):
    dropout = layers.Dropout(rate, seed=seed, dtype=dtype)
    x = tf.cast(np.random.default_rng(seed).uniform(1, 2, shape), dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = dropout(x, training=True)
    gradient = tape.gradient(y, x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    kept = np.asarray(y != 0)
    scale = tf.cast(1 / (1 - rate), dtype)
    np.testing.assert_array_equal(y, tf.where(kept, x * scale, tf.zeros_like(x)))
    np.testing.assert_array_equal(gradient, tf.where(kept, scale, tf.zeros_like(x)))
    np.testing.assert_array_equal(dropout(x, training=False), x)


@pytest.mark.parametrize("rate", [1 / 256, 0.1, 0.25, 0.5, 0.9])
def test_dropout_drops_its_rate(rate):
    dropped = np.asarray(layers.Dropout(rate, seed=0)(np.ones((1001, 999), "float32"), training=True)) == 0
    sigma = np.sqrt(rate * (1 - rate))
    assert abs(dropped.mean() - rate) < 5 * sigma / np.sqrt(dropped.size)
    # Neighbors in memory share a random word: they are independent nevertheless.
    for shift in (1, 2, 3, 4):
        both = dropped.ravel()[shift:] & dropped.ravel()[:-shift]
        assert abs(both.mean() - rate**2) < 10 * rate * sigma / np.sqrt(both.size) + 1e-5
    assert np.abs(dropped.mean(axis=0) - rate).max() < 6 * sigma / np.sqrt(len(dropped)) + 5e-3


@pytest.mark.parametrize(("rate", "noise_shape"), [(0, None), (1, None), (0.5, (1, None))])
def test_dropout_leaves_the_rest_to_keras(rate, noise_shape):
    x = np.ones((50, 7), "float32")
    ours, theirs = (kind(rate, noise_shape, seed=3) for kind in (layers.Dropout, keras.layers.Dropout))
    np.testing.assert_array_equal(ours(x, training=True), theirs(x, training=True))


@pytest.mark.parametrize("rate", [0.3, 0.5])
def test_dropout_of_whole_images(rate):
    y = np.asarray(layers.Dropout(rate, (None, 1, 1, 1), seed=0)(np.ones((5000, 2, 3, 4), "float32"), training=True))
    assert (y == y[:, :1, :1, :1]).all()
    kept = y[:, 0, 0, 0] != 0
    np.testing.assert_array_equal(y[kept], np.float32(1 / (1 - rate)))
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / len(y))


def test_dropout_is_a_function_of_its_state():
    inputs = keras.Input((40,))
    model = keras.Model(inputs, layers.Dropout(0.5)(inputs))
    (state,) = (variable for variable in model.variables if variable.dtype == "int64")
    before, x = state.numpy(), np.ones((30, 40), "float32")
    first, second = model(x, training=True), model(x, training=True)
    assert not np.array_equal(first, second)
    state.assign(before)
    np.testing.assert_array_equal(model(x, training=True), first)
    np.testing.assert_array_equal(model(x, training=True), second)
    state.assign(before)
    np.testing.assert_array_equal(tf.function(model)(x, training=True), first)


MASK = """
import hashlib
from cifar.nn import layers
import tensorflow as tf
print(hashlib.sha256(layers.Dropout(0.25, seed=1)(tf.ones((64, 64, 64)), training=True).numpy()).hexdigest())
"""


def test_dropout_does_not_depend_on_threads():
    done = run_warm("-c", MASK, TF_NUM_INTRAOP_THREADS="1")
    mask = layers.Dropout(0.25, seed=1)(tf.ones((64, 64, 64)), training=True).numpy()
    assert done.stdout.strip() == hashlib.sha256(mask).hexdigest(), done.stderr


def network(library) -> keras.Model:
    """A small model with a model inside, of the layers of `library`."""
    inside = keras.Input((8, 8, 4))
    x = library.BatchNormalization()(library.Conv2D(4, 3, activation="relu")(inside))
    inner = keras.Model(inside, library.Activation("gelu")(x))
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Flatten()(library.Dropout(0.25)(inner(inputs)))
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def test_weights_go_both_ways(tmp_path):
    ours = network(layers)
    theirs = network(keras.layers)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 4)).astype("float32")
    for source, target in ((ours, theirs), (theirs, ours)):
        source.compile("sgd", "mse", jit_compile=False)
        source.train_on_batch(x, np.ones((4, 3)))
        source.save_weights(tmp_path / "some.weights.h5")
        target.load_weights(tmp_path / "some.weights.h5")
        np.testing.assert_allclose(target(x), source(x), atol=1e-5)


@pytest.mark.parametrize("policy", POLICIES)
def test_batch_normalization_is_the_fused_operation(policy):
    layer = layers.BatchNormalization(dtype=policy)
    x = tf.zeros((2, 4, 4, 3), layer.compute_dtype)
    layer.build(x.shape)
    operations = tf.function(lambda x: layer(x, training=True)).get_concrete_function(x).graph.get_operations()
    assert "FusedBatchNormV3" in {operation.type for operation in operations}


def layer_types(model: keras.Model) -> set[type]:
    """The types of its layers and of those inside of them."""
    return (
        {kind for layer in model.layers for kind in (type(layer), *layer_types(layer))}
        if hasattr(model, "layers")
        else set()
    )


def test_saved_and_reloaded(tmp_path):
    model = network(layers)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert {layers.Conv2D, layers.BatchNormalization, layers.Dropout} <= layer_types(again)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 4)).astype("float32")
    np.testing.assert_array_equal(again(x), model(x))


PLAIN = """
import sys
sys.modules["cifar"] = None
import keras, numpy
model = keras.models.load_model(sys.argv[1])
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))
"""


def test_portable_loads_without_the_project(tmp_path):
    model = network(layers)
    model.compile("sgd", "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 4)).astype("float32")
    model.train_on_batch(x, np.ones((4, 3)))
    copy = layers.portable(model)
    assert not copy.compiled and copy.name == model.name
    assert not any(type(layer).__module__ == layers.__name__ for layer in copy._flatten_layers())
    copy.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    done = run_warm("-c", PLAIN, tmp_path / "model.keras", tmp_path / "x.npy", tmp_path / "y.npy", cwd=tmp_path)
    assert done.code == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(x), atol=1e-5)

"""Muon against the formulas of https://kellerjordan.github.io/posts/muon, in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cifar.optim.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (16, 16)])
def test_orthogonal_has_singular_values_about_one(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype("float32")
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    found = keras.ops.convert_to_numpy(orthogonal(matrix, 5))
    values = np.linalg.svd(found, compute_uv=False)
    assert values.min() > 0.6 and values.max() < 1.3
    assert (found * (u @ v)).sum() / np.linalg.norm(found) / np.linalg.norm(u @ v) > 0.95


def test_orthogonal_does_not_depend_on_the_scale():
    matrix = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")
    np.testing.assert_allclose(orthogonal(matrix, 3), orthogonal(1e-3 * matrix, 3), atol=0.02)


def test_each_kind_of_variable_goes_its_way():
    image = keras.Input((6, 6, 2))
    x = keras.layers.Flatten()(keras.layers.Conv2D(5, 3)(image))
    model = keras.Model(image, keras.layers.Dense(4, name="head")(x))
    optimizer = Muon(
        0.1, momentum=0.6, ns_steps=3, head=["head"], head_lr=2.0, bias_lr=3.0, bias_momentum=0.8, decay=0.5
    )
    optimizer.build(model.trainable_variables)
    random = np.random.default_rng(0)
    momenta = [np.zeros(variable.shape) for variable in model.trainable_variables]
    expected = [variable.numpy() for variable in model.trainable_variables]
    for _ in range(3):
        gradients = [random.normal(size=variable.shape).astype("float32") for variable in model.trainable_variables]
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients])
        for index, gradient in enumerate(gradients):
            beta = 0.6 if index == 0 else 0.8
            momenta[index] = beta * momenta[index] + gradient
            update = (gradient + beta * momenta[index]).astype("float32")
            if index == 0:
                scaled = expected[0] * np.sqrt(5) / np.linalg.norm(expected[0])
                step = keras.ops.convert_to_numpy(orthogonal(update.reshape(-1, 5), 3)).reshape(update.shape)
                expected[0] = scaled - 0.1 * step
            else:
                multiple = 3.0 if index == 1 else 2.0
                expected[index] = expected[index] * (1 - 0.1 * 0.5) - 0.1 * multiple * update
    assert [variable.path.split("/")[-2:] for variable in model.trainable_variables][2] == ["head", "kernel"]
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-4, atol=1e-4)

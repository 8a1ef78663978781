"""What layers cost, against what one counts by hand."""

from __future__ import annotations

import keras
import pytest

from cifar.nn import layers
from cifar.training.flops import Cost, costs, sums, table


@pytest.fixture(scope="module")
def rows() -> list[Cost]:
    image = keras.Input((8, 6, 3), dtype="uint8", name="image")
    x = keras.ops.cast(image, "float32")
    convolution = layers.Conv2D(5, 3, padding="same", use_bias=False, name="convolution")
    x = convolution(convolution(keras.ops.repeat(x, 2, axis=-1)[..., :5]))
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    x = keras.layers.Dense(7, dtype="mixed_bfloat16", name="dense")(x)
    return costs(keras.Model(image, x))


def test_a_layer_costs_what_it_does_each_time_it_is_used(rows):
    (convolution,) = [row for row in rows if row.name == "convolution"]
    assert convolution.kind == "Conv2D"
    assert convolution.shape == (8, 6, 5)
    assert convolution.parameters == 9 * 5 * 5
    assert convolution.flops == 2 * (2 * 9 * 5 * 5 * 8 * 6)


def test_activations_have_the_size_of_their_numbers(rows):
    bytes_of = {row.name: row.activations for row in rows}
    named = [bytes_of[name] for name in ("image", "convolution", "pooling", "dense")]
    assert named == [8 * 6 * 3, 2 * 4 * 8 * 6 * 5, 4 * 5, 2 * 7]


def test_sums_are_those_of_the_table(rows):
    lines = table(rows).splitlines()
    assert len(lines) == 1 + len(rows) + 1
    *_, parameters, flops, activations = lines[-1].replace(",", "").split()
    assert int(parameters) == sum(row.parameters for row in rows) == 9 * 5 * 5 + 5 * 7 + 7
    assert sums(rows) == {"model/flops": int(flops), "model/activation_bytes": int(activations)}

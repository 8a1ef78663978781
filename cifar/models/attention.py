"""Attention to channels and places: what scales the maps of a residual branch before it is added."""

from __future__ import annotations

from typing import Literal

from cifar.runtime.lazy import keras

Attention = Literal["none", "se", "cbam"]


def apply_attention(x: keras.KerasTensor, kind: Attention) -> keras.KerasTensor:
    """`x`, maps (n, height, width, channels), scaled by attention of this kind."""
    match kind:
        case "se":
            return _squeeze_and_excitation(x)
        case "cbam":
            return _places(_channels(x))
        case _:
            return x


def _squeeze_and_excitation(x: keras.KerasTensor) -> keras.KerasTensor:
    """Squeeze and excitation, Hu et al. 2018, arXiv:1709.01507."""
    squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    return keras.layers.Multiply()([x, keras.layers.Activation("sigmoid")(_perceptron(x.shape[-1])(squeezed))])


def _channels(x: keras.KerasTensor) -> keras.KerasTensor:
    """The channels' half of the convolutional block attention module (CBAM), Woo et al. 2018, arXiv:1807.06521."""
    perceptron = _perceptron(x.shape[-1])
    pools = keras.layers.GlobalAveragePooling2D(keepdims=True), keras.layers.GlobalMaxPooling2D(keepdims=True)
    scores = keras.layers.Add()([perceptron(pool(x)) for pool in pools])
    return keras.layers.Multiply()([x, keras.layers.Activation("sigmoid")(scores)])


def _places(x: keras.KerasTensor) -> keras.KerasTensor:
    """The places' half of CBAM."""
    from cifar.nn import layers

    pooled = [pool(x, axis=-1, keepdims=True) for pool in (keras.ops.mean, keras.ops.max)]
    scores = layers.Conv2D(1, 7, padding="same", use_bias=False)(keras.layers.Concatenate()(pooled))
    return keras.layers.Multiply()([x, keras.layers.Activation("sigmoid")(scores)])


def _perceptron(channels: int):
    """A score for each channel, through a hidden layer of a sixteenth of their number, but at least 4."""
    hidden = keras.layers.Dense(max(channels // 16, 4), activation="relu", kernel_initializer="he_normal")
    scores = keras.layers.Dense(channels)
    return lambda x: scores(hidden(x))

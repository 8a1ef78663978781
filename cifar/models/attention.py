"""Attention to channels and positions, for residual branches."""

from __future__ import annotations

from typing import Literal

from cifar.runtime.lazy import keras

Attention = Literal["none", "se", "cbam"]


def apply_attention(x: keras.KerasTensor, kind: Attention) -> keras.KerasTensor:
    """Scale feature maps `x` (n, height, width, channels) by attention of a kind."""
    match kind:
        case "se":
            return _squeeze_and_excitation(x)
        case "cbam":
            return _spatial_attention(_channel_attention(x))
        case _:
            return x


def _squeeze_and_excitation(x: keras.KerasTensor) -> keras.KerasTensor:
    """Squeeze and excitation, Hu et al. 2018, arXiv:1709.01507."""
    squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    return keras.layers.Multiply()([x, keras.layers.Activation("sigmoid")(_mlp(x.shape[-1])(squeezed))])


def _channel_attention(x: keras.KerasTensor) -> keras.KerasTensor:
    """Channel attention of the convolutional block attention module (CBAM), Woo et al. 2018, arXiv:1807.06521."""
    perceptron = _mlp(x.shape[-1])
    pools = keras.layers.GlobalAveragePooling2D(keepdims=True), keras.layers.GlobalMaxPooling2D(keepdims=True)
    scores = keras.layers.Add()([perceptron(pool(x)) for pool in pools])
    return keras.layers.Multiply()([x, keras.layers.Activation("sigmoid")(scores)])


def _spatial_attention(x: keras.KerasTensor) -> keras.KerasTensor:
    """Spatial attention of CBAM."""
    from cifar.nn import layers

    pooled = [pool(x, axis=-1, keepdims=True) for pool in (keras.ops.mean, keras.ops.max)]
    scores = layers.Conv2D(1, 7, padding="same", use_bias=False)(keras.layers.Concatenate()(pooled))
    return keras.layers.Multiply()([x, keras.layers.Activation("sigmoid")(scores)])


def _mlp(channels: int):
    """Return an MLP to a score per channel; its hidden layer has a sixteenth of the channels, but at least 4."""
    hidden = keras.layers.Dense(max(channels // 16, 4), activation="relu", kernel_initializer="he_normal")
    scores = keras.layers.Dense(channels)
    return lambda x: scores(hidden(x))

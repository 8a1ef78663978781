"""Compact transformers."""

from __future__ import annotations

from cifar.config.registry import MODELS
from cifar.config.schema import PositiveInt, Rate
from cifar.nn import blocks
from cifar.nn.blocks import check_halvings, convolution, drop_path, image_input
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras


@MODELS.register
def cct(
    image_shape: tuple[int, int, int],
    *,
    convolutions: PositiveInt,
    depth: PositiveInt,
    embed_dim: PositiveInt,
    num_heads: PositiveInt,
    mlp_dim: PositiveInt,
    dropout: Rate,
    stochastic_depth: Rate,
) -> keras.Model:
    """CCT-depth/3×convolutions, a compact transformer (Hassani et al. 2021, arXiv:2104.05704).

    Convolutions, each followed by max pooling with stride 2, compute a token of dimension `embed_dim` for each
    position. Transformer blocks follow, of attention with `num_heads` heads and an MLP with `mlp_dim` hidden units,
    each followed by `dropout`. The rate of stochastic depth grows linearly to `stochastic_depth` at the last block. The
    classifier's pooling replaces the paper's weighted mean over tokens.
    """
    check_halvings(image_shape, convolutions, f"model.convolutions={convolutions}")
    if embed_dim % num_heads:
        raise InputError(f"model.num_heads={num_heads}: should divide model.embed_dim={embed_dim}")
    image, x = image_input(image_shape)
    features = {}
    for level in range(1, convolutions + 1):
        x = keras.layers.Activation("relu")(convolution(x, embed_dim if level == convolutions else 64))
        features[f"P{level}"] = x = blocks.max_pooling(x, 3)
    shape = x.shape[1:]
    x = _add_position_embedding(keras.layers.Reshape((shape[0] * shape[1], embed_dim))(x))
    for n in range(1, depth + 1):
        for branch in (_attention(num_heads), _mlp(mlp_dim)):
            x = keras.layers.Add()([x, drop_path(blocks.dropout(dropout)(branch(x)), stochastic_depth * n / depth)])
    features[f"P{convolutions}"] = keras.layers.Reshape(shape)(_layer_normalized(x))
    return keras.Model(image, features, name="cct")


def _add_position_embedding(x: keras.KerasTensor) -> keras.KerasTensor:
    """Add a learned position embedding to tokens (n, positions, embed_dim).

    The embedding is the bias of a Keras layer, whose required kernel is a factor per channel, initially 1.
    """
    return keras.layers.EinsumDense(
        "npw,w->npw", x.shape[1:], bias_axes="pw", kernel_initializer="ones",
        bias_initializer=keras.initializers.TruncatedNormal(stddev=0.2), name="places",
    )(x)  # fmt: skip


def _layer_normalized(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.LayerNormalization(epsilon=1e-5)(x)


def _attention(num_heads: int):
    """Return a branch of self-attention."""

    def branch(x):
        x = _layer_normalized(x)
        return keras.layers.MultiHeadAttention(num_heads, x.shape[-1] // num_heads, kernel_initializer=_small())(x, x)

    return branch


def _mlp(mlp_dim: int):
    """Return a branch of an MLP per token."""

    def branch(x):
        hidden = keras.layers.Dense(mlp_dim, activation="gelu", kernel_initializer=_small())(_layer_normalized(x))
        return keras.layers.Dense(x.shape[-1], kernel_initializer=_small())(hidden)

    return branch


def _small() -> keras.Initializer:
    return keras.initializers.TruncatedNormal(stddev=0.02)

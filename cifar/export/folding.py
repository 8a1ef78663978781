"""The factors of batch normalizations, moved into convolutions, so that activations suit one 8-bit scale for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import keras
import numpy as np

from cifar.nn.graph import layer_inputs

PASSED = (keras.layers.MaxPooling2D, keras.layers.Dropout, keras.layers.ReLU)
"""Layers between a convolution and its normalization that a positive factor of a channel may pass."""


class Affine(keras.layers.Layer):
    """What is left of a normalization: `signs * x + shifts`, by channel."""

    def __init__(self, signs: np.ndarray, shifts: np.ndarray, **options):
        super().__init__(**options)
        self.signs, self.shifts = signs, shifts

    def call(self, inputs, training=None, mask=None):
        return (inputs if (self.signs > 0).all() else inputs * self.signs) + self.shifts

    def get_config(self):
        return {**super().get_config(), "signs": self.signs, "shifts": self.shifts}


def folded(model: keras.Model) -> keras.Model:
    """Copy a functional `model` with the factors of batch normalizations moved into the convolutions before them.

    Between a convolution and its normalization, channels differ in size by orders of magnitude, so that 8 bits for all
    of them leave few for the small ones, which the normalization then enlarges. The weights of a convolution have a
    scale for each channel. They take the absolute value of the factor, which passes activation and pooling; sign and
    shift stay in the place of the normalization. Converters do so themselves where nothing is in between.
    """
    pairs = dict(_pairs(model))
    factors = {convolution: _affine(model.get_layer(name)) for name, convolution in pairs.items()}

    def clone(layer):
        if layer.name not in pairs:
            return type(layer).from_config(layer.get_config())
        scale, shifts = factors[pairs[layer.name]]
        return Affine(np.where(scale < 0, -1, 1).astype("float32"), shifts, name=layer.name)

    copy = keras.models.clone_model(keras.Model(model.input, model.output), clone_function=clone)
    for layer in model.layers:
        weights = layer.get_weights()
        if layer.name in factors:
            weights = [weight * np.abs(factors[layer.name][0]) for weight in weights]
        if layer.name not in pairs:
            copy.get_layer(layer.name).set_weights(weights)
        if isinstance(layer, keras.layers.Normalization):
            copy.get_layer(layer.name).finalize_state()  # computes its constants from the weights
    return copy


def _pairs(model: keras.Model) -> Iterator[tuple[str, str]]:
    """Yield normalizations and the convolutions before them, between which are an activation or poolings alone."""
    inputs = layer_inputs(model)
    uses = Counter(name for names in inputs.values() for name in names)
    uses.update(model.output_names)
    for normalization in model.layers:
        if not isinstance(normalization, keras.layers.BatchNormalization):
            continue
        layer, is_next = normalization, True
        while layer is normalization or isinstance(layer, PASSED):
            is_next = layer is normalization
            names = inputs[layer.name]
            if len(names) != 1 or uses[names[0]] != 1:
                break
            layer = model.get_layer(names[0])
        if isinstance(layer, keras.layers.Conv2D) and len(inputs[layer.name]) == 1:
            activation = keras.activations.serialize(layer.activation)
            if activation == "relu" or (activation == "linear" and not is_next):
                yield normalization.name, layer.name


def _affine(layer: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """The factor and the shift of each channel outside training, float32."""
    mean, variance = (keras.ops.convert_to_numpy(weight) for weight in (layer.moving_mean, layer.moving_variance))
    scale = (keras.ops.convert_to_numpy(layer.gamma) if layer.scale else 1.0) / np.sqrt(variance + layer.epsilon)
    return scale, (keras.ops.convert_to_numpy(layer.beta) if layer.center else 0.0) - mean * scale

"""The model as one frozen TensorFlow graph, with weights as constants: the input of converters."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def frozen(named: keras.Model, batch_size: int | None) -> Any:
    """Return a concrete function, without variables, of `named`, a model from images to a dictionary of outputs.

    Its input is the tensor `image:0`, uint8; output tensors have the names and the order of the model's outputs.
    """

    values = [variable.numpy() for variable in named.variables]

    def answer(image):
        constants = [(variable, tf.constant(value)) for variable, value in zip(named.variables, values, strict=True)]
        with keras.StatelessScope(state_mapping=constants):
            outputs = named(image, training=False)
        return [tf.identity(outputs[name], name=name) for name in named.output]

    return tf.function(answer, autograph=False).get_concrete_function(image(named, batch_size))


def image(model: keras.Model, batch_size: int | None = None) -> tf.TensorSpec:
    """Return the specification of the model's input; without `batch_size`, for any."""
    return tf.TensorSpec((batch_size, *model.input_shape[1:]), tf.uint8, name="image")

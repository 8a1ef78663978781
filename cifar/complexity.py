"""What a model costs."""

from __future__ import annotations

import logging

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from cifar import layers
from cifar.lazy import Lazy

jax = Lazy("jax")


def count_flops(model: keras.Model) -> int:
    """Floating-point operations of the forward pass of one image, a multiply-add counted as two.

    Counted on Keras's own layers: TensorFlow knows no shapes behind what XLA compiles in ours.
    """
    model = layers.portable(model)
    return _count_on_jax(model) if keras.backend.backend() == "jax" else _count_on_tensorflow(model)


def _count_on_jax(model: keras.Model) -> int:
    def forward(trainable, others, x):
        return model.stateless_call(trainable, others, x, training=False)[0]

    variables = ([variable.value for variable in group]
                 for group in (model.trainable_variables, model.non_trainable_variables))
    shapes = jax.eval_shape(lambda *values: values, *variables,
                            jax.ShapeDtypeStruct((1, *model.input_shape[1:]), model.inputs[0].dtype))
    return int(jax.jit(forward).lower(*shapes).cost_analysis()["flops"])


def _count_on_tensorflow(model: keras.Model) -> int:
    image = tf.TensorSpec((1, *model.input_shape[1:]), model.inputs[0].dtype)
    forward = tf.function(lambda x: model(x, training=False)).get_concrete_function(image)
    graph = convert_variables_to_constants_v2(forward).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    logger = tf.get_logger()
    before, level = logger.level, logging.ERROR
    logger.setLevel(level)  # the profiler warns of its own use of a deprecated function
    try:
        return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops
    finally:
        logger.setLevel(before)

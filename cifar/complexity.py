"""What a model costs."""

from __future__ import annotations

import logging

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


def count_flops(model: keras.Model) -> int:
    """Floating-point operations of the forward pass of one image, a multiply-add counted as two."""
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

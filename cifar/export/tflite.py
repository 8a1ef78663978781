"""The format TFLite (LiteRT), one image at a time: in float32, with weights in float16, and in 8 bits.

All take uint8 images and return float32. In 8 bits, the model computes with integers only, whose ranges are calibrated
on images of the validation split. Where outputs are decoded in the graph, as boxes are, weights alone have 8 bits: for
coordinates, 8 bits are too few.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from cifar.export import graph
from cifar.export.folding import folded
from cifar.export.source import Source, Written, batches
from cifar.nn import layers
from cifar.runtime import machine

CALIBRATION_IMAGES = 256


def write(source: Source, folder: Path) -> list[Written]:
    named = lowerable(source.named)
    half = _converter(named)
    half.optimizations = [tf.lite.Optimize.DEFAULT]
    half.target_spec.supported_types = [tf.float16]
    return [
        _written("tflite", _converter(named), folder / "model.tflite", tolerance=1e-4),
        _written("tflite-fp16", half, folder / "model_fp16.tflite", None),
        _written("tflite-int8", _quantizing(source), folder / "model_int8.tflite", None),
    ]


def lowerable(model: keras.Model) -> keras.Model:
    """Replace each `EinsumDense` without a sum by a product: the converter treats any einsum as a matrix product."""

    def clone(layer):
        kind = type(layer)
        if kind is keras.layers.EinsumDense and _is_scaling(layer.equation):
            kind = Scaling
        return kind.from_config(layer.get_config())

    return layers.copied(model, clone)


class Scaling(keras.layers.EinsumDense):
    """An `EinsumDense` that multiplies the last axes of its input by its kernel."""

    def call(self, inputs):
        x = inputs * self.kernel if self.bias is None else inputs * self.kernel + self.bias
        return x if self.activation is None else self.activation(x)


def _is_scaling(equation: str) -> bool:
    """True for equations without a sum, such as "npw,w->npw"."""
    operands, output = equation.split("->")
    image, kernel = operands.split(",")
    return image == output and image.endswith(kernel)


def _converter(named: keras.Model) -> tf.lite.TFLiteConverter:
    function, names = graph.frozen(named, 1), list(named.output)
    module = tf.Module()
    module.answer = tf.function(lambda image: dict(zip(names, function(image), strict=True)))
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [module.answer.get_concrete_function(graph.image(named, 1))], module
    )


def _quantizing(source: Source) -> tf.lite.TFLiteConverter:
    images = source.experiment.dataset.val.images
    chosen = np.linspace(0, len(images) - 1, min(len(images), CALIBRATION_IMAGES)).astype(int)

    def calibration() -> Iterator[list[np.ndarray]]:
        for image in images[chosen]:
            yield [image[None]]

    model = folded(source.model)
    converter = _converter(lowerable(keras.Model(model.input, source.experiment.task.exported(model))))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if not source.is_decoded:
        converter.representative_dataset = calibration
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter


def _written(name: str, converter: tf.lite.TFLiteConverter, path: Path, tolerance: float | None) -> Written:
    path.write_bytes(converter.convert())
    answer = Interpreter(str(path), num_threads=len(machine.cores())).get_signature_runner()

    def predict(images):
        return {output: value.copy() for output, value in answer(image=images).items()}

    return Written(name, [path.name], lambda images: batches(predict, images, 1), tolerance)

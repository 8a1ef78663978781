"""What a model costs: operations, parameters and memory, layer by layer."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.ops import get_stats_for_node_def

from cifar import layers, text
from cifar.lazy import Lazy

jax = Lazy("jax")


@dataclass(frozen=True)
class Cost:
    """What a layer costs for one image: `flops` of the forward pass, bytes of `activations`, which are its output.

    A multiply-add counts as two. `shape` is that of the output, without the batch.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    flops: int
    activations: int


def costs(model: keras.Model) -> list[Cost]:
    """The cost of each layer of `model`, a functional one, in the order in which they are computed."""
    # TensorFlow knows no shapes behind what XLA compiles in the project's own layers.
    model = layers.portable(model)
    flops = _flops(model)
    return [
        Cost(
            operation.name,
            type(operation).__name__,
            keras.tree.flatten(operation.output)[-1].shape[1:],
            operation.count_params() if isinstance(operation, keras.Layer) else 0,
            flops[operation.name],
            sum(map(_size, keras.tree.flatten(operation.output))),
        )
        for operation in model.operations
    ]


def sums(rows: Sequence[Cost]) -> dict[str, int]:
    """Operations, and bytes of activations, of all layers for one image, under the names of metrics."""
    return {
        "model/flops": sum(row.flops for row in rows),
        "model/activation_bytes": sum(row.activations for row in rows),
    }


def table(rows: Sequence[Cost], columns: int = 10_000) -> str:
    """The costs of layers and their sum, as lines of at most `columns` characters where that can be."""
    cells = [[row.name, row.kind, "×".join(map(str, row.shape)), row.parameters, row.flops, row.activations]
             for row in rows]  # fmt: skip
    cells.append(["in all", "", "", *(sum(column) for column in list(zip(*cells, strict=True))[3:])])
    texts = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in cells]
    header = ["layer", "kind", "output", "parameters", "FLOPs", "activations, bytes"]
    return text.table([header, *texts], columns, whole=(2, 3, 4, 5))


def _size(tensor: keras.KerasTensor) -> int:
    """Bytes of a tensor, of one image."""
    kind = keras.backend.standardize_dtype(tensor.dtype)
    return math.prod(tensor.shape[1:]) * tf.dtypes.as_dtype(kind).size


def _flops(model: keras.Model) -> Counter[str]:
    """By the names of layers; the model is run once, on the shape of an image alone."""
    counted: Counter[str] = Counter()
    count = _counting_on_jax if keras.backend.backend() == "jax" else _counting_on_tensorflow

    def forward(x: Any) -> Any:
        # Keras's own way from layer to layer; no public one lets each be looked at.
        return model._run_through_graph(x, lambda operation: count(operation, counted))

    shape, kind = (1, *model.input_shape[1:]), model.inputs[0].dtype
    if keras.backend.backend() == "jax":
        jax.eval_shape(forward, jax.ShapeDtypeStruct(shape, kind))
    else:
        logger = tf.get_logger()
        before = logger.level
        logger.setLevel(logging.ERROR)  # TensorFlow warns of its own use of a deprecated function
        try:
            tf.function(forward).get_concrete_function(tf.TensorSpec(shape, kind))
        finally:
            logger.setLevel(before)
    return counted


def _counting_on_tensorflow(operation: keras.Operation, counted: Counter[str]) -> Callable:
    def call(*arguments: Any, **keywords: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        before = len(graph.get_operations())
        outputs = operation(*arguments, **keywords)
        added = graph.get_operations()[before:]
        values = [get_stats_for_node_def(graph, one.node_def, "flops").value for one in added]
        counted[operation.name] += sum(int(value) for value in values if value)
        return outputs

    return call


def _counting_on_jax(operation: keras.Operation, counted: Counter[str]) -> Callable:
    has_variables = isinstance(operation, keras.Layer)
    groups = (operation.trainable_variables, operation.non_trainable_variables) if has_variables else ()
    values = [[variable.value for variable in group] for group in groups]

    def call(*arguments: Any, **keywords: Any) -> Any:
        def alone(variables: list, *inputs: Any) -> Any:
            if has_variables:
                return operation.stateless_call(*variables, *inputs, **keywords)[0]
            return operation(*inputs, **keywords)

        shapes = jax.tree.map(_shape_on_jax, (values, *arguments))
        counted[operation.name] += int(jax.jit(alone).lower(*shapes).cost_analysis().get("flops", 0))
        return operation(*arguments, **keywords)

    return call


def _shape_on_jax(x: Any) -> Any:
    return jax.ShapeDtypeStruct(x.shape, x.dtype) if hasattr(x, "shape") else x

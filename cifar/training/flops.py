"""What a model costs: operations, parameters and memory, layer by layer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.ops import get_stats_for_node_def

from cifar.nn import layers
from cifar.runtime import terminal
from cifar.runtime.lazy import Lazy
from cifar.runtime.quiet import silenced

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
    """The cost of each layer of `model`, a functional one, in the order in which they are computed.

    The model is run once, on the shape of an image alone; a layer that is used several times costs that often.
    """
    # TensorFlow knows no shapes behind what XLA compiles in the project's own layers.
    model = layers.portable(model)
    on_jax = keras.backend.backend() == "jax"
    flops: Counter[str] = Counter()
    outputs: dict[str, list[Any]] = {operation.name: [] for operation in model.operations}
    outputs[model.inputs[0].name].append(model.inputs[0])

    def counted(operation: keras.Operation) -> Callable:
        def call(*arguments: Any, **keywords: Any) -> Any:
            result, count = (_on_jax if on_jax else _on_tensorflow)(operation, arguments, keywords)
            flops[operation.name] += count
            outputs[operation.name] += keras.tree.flatten(result)
            return result

        return call

    def forward(x: Any) -> Any:
        # Keras's own way from layer to layer; no public one lets each be looked at.
        return model._run_through_graph(x, counted)

    shape, kind = (1, *model.input_shape[1:]), model.inputs[0].dtype
    if on_jax:
        jax.eval_shape(forward, jax.ShapeDtypeStruct(shape, kind))
    else:
        with silenced(2):  # TensorFlow warns of its own use of a deprecated function
            tf.function(forward).get_concrete_function(tf.TensorSpec(shape, kind))
    return [
        Cost(
            operation.name,
            type(operation).__name__,
            tuple(outputs[operation.name][-1].shape[1:]),
            operation.count_params() if isinstance(operation, keras.Layer) else 0,
            flops[operation.name],
            sum(map(_size, outputs[operation.name])),
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
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in cells]
    header = ["layer", "kind", "output", "parameters", "FLOPs", "activations, bytes"]
    return terminal.table([header, *texts], columns, whole=(2, 3, 4, 5))


def _size(tensor: Any) -> int:
    """Bytes of a tensor, of one image."""
    return math.prod(tensor.shape[1:]) * tf.as_dtype(keras.backend.standardize_dtype(tensor.dtype)).size


def _on_tensorflow(operation: keras.Operation, arguments: tuple, keywords: dict[str, Any]) -> tuple[Any, int]:
    """What `operation` makes of its arguments within a graph, and its floating-point operations."""
    graph = tf.compat.v1.get_default_graph()
    before = len(graph.get_operations())
    result = operation(*arguments, **keywords)
    added = graph.get_operations()[before:]
    values = [get_stats_for_node_def(graph, one.node_def, "flops").value for one in added]
    return result, sum(int(value) for value in values if value)


def _on_jax(operation: keras.Operation, arguments: tuple, keywords: dict[str, Any]) -> tuple[Any, int]:
    """The same, on tracers."""
    has_variables = isinstance(operation, keras.Layer)
    groups = (operation.trainable_variables, operation.non_trainable_variables) if has_variables else ()
    leaves, structure = jax.tree.flatten(arguments)
    tensors = [leaf for leaf in leaves if hasattr(leaf, "shape")]

    def alone(variables: list, tensors: list) -> Any:
        given = iter(tensors)
        inputs = structure.unflatten([next(given) if hasattr(leaf, "shape") else leaf for leaf in leaves])
        if has_variables:
            return operation.stateless_call(*variables, *inputs, **keywords)[0]
        return operation(*inputs, **keywords)

    values = [[variable.value for variable in group] for group in groups]
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (values, tensors))
    with jax.default_device(jax.local_devices(backend="cpu")[0]):  # on a GPU, JAX counts nothing before it compiles
        flops = jax.jit(alone).lower(*shapes).cost_analysis().get("flops", 0)
    return operation(*arguments, **keywords), int(flops)

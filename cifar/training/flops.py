"""What a model costs: operations, parameters and memory, layer by layer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

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
    count = _flops_on_jax if keras.backend.backend() == "jax" else _flops_on_tensorflow
    flops: Counter[str] = Counter()
    outputs: dict[str, list[Any]] = {operation.name: [] for operation in model.operations}
    outputs[model.inputs[0].name].append(model.inputs[0])

    def call(operation: keras.Operation, *arguments: Any, **keywords: Any) -> Any:
        result = operation(*arguments, **keywords)
        flops[operation.name] += count(operation, arguments, keywords)
        outputs[operation.name] += keras.tree.flatten(result)
        return result

    image = keras.Input(batch_shape=(1, *model.input_shape[1:]), dtype=model.inputs[0].dtype)
    with silenced(2):  # TensorFlow warns of its own use of a deprecated function
        keras.models.clone_model(model, image, clone_function=lambda operation: operation, call_function=call)
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


def _flops_on_tensorflow(operation: keras.Operation, arguments: tuple, keywords: dict[str, Any]) -> int:
    """Floating-point operations of a call of `operation` with Keras's symbolic tensors, by TensorFlow's profiler."""
    call, tensors = _numeric(operation, arguments, keywords)
    specs = [tf.TensorSpec(x.shape, x.dtype) for x in tensors]
    graph = tf.function(call, autograph=False).get_concrete_function(*specs).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output()
    return profiler.profile(graph, options=options.build()).total_float_ops


def _flops_on_jax(operation: keras.Operation, arguments: tuple, keywords: dict[str, Any]) -> int:
    """The same, by XLA's cost analysis."""
    call, tensors = _numeric(operation, arguments, keywords)
    variables = list(getattr(operation, "variables", ()))

    def stateless(values: list, *tensors: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return call(*tensors)

    specs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (*variables, *tensors)]
    with jax.default_device(jax.local_devices(backend="cpu")[0]):  # on a GPU, JAX counts nothing before it compiles
        lowered = jax.jit(stateless).lower(specs[: len(variables)], *specs[len(variables) :])
    return int(lowered.cost_analysis().get("flops", 0))


def _numeric(operation: keras.Operation, arguments: tuple, keywords: dict[str, Any]) -> tuple[Callable, list]:
    """`operation` as a function of the symbolic tensors among its arguments, and these."""
    given = keras.tree.flatten((arguments, keywords))
    symbolic = [x for x in given if isinstance(x, keras.KerasTensor)]

    def call(*tensors: Any) -> Any:
        values = iter(tensors)
        flat = [next(values) if isinstance(x, keras.KerasTensor) else x for x in given]
        positional, named = keras.tree.pack_sequence_as((arguments, keywords), flat)
        return operation(*positional, **named)

    return call, symbolic

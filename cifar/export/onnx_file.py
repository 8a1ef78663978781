"""The format ONNX, converted from the frozen graph by tf2onnx; checked with ONNX Runtime on the CPU.

tf2onnx has no maintainer. jax2onnx 0.17, tried in November 2026 with Keras on JAX, converts a ResNet, but ONNX Runtime
refuses its max pooling (cnn3, airbench, cct), and it needs 60 packages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tf2onnx

from cifar.export import graph
from cifar.export.source import Source, Written, batches

NAME = "model.onnx"
OPSET = 18
"""Operator set of ONNX 1.13 (2022), supported by current runtimes."""
BATCH = 128


def write(source: Source, folder: Path) -> list[Written]:
    names = list(source.named.output)
    model, _ = tf2onnx.convert.from_graph_def(
        graph.frozen(source.named, None).graph.as_graph_def(),
        input_names=["image:0"],
        output_names=[f"{name}:0" for name in names],
        tensors_to_rename={f"{name}:0": name for name in ("image", *names)},
        opset=OPSET,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model)
    onnx.save(model, folder / NAME)
    session = onnxruntime.InferenceSession(folder / NAME, providers=["CPUExecutionProvider"])

    def predict(images):
        return dict(zip(names, session.run(names, {"image": images}), strict=True))

    return [Written("onnx", [NAME], lambda images: batches(predict, images, BATCH), tolerance=1e-4)]


def _erfc(context: Any, node: Any, name: str, arguments: list[Any]) -> None:
    """Replace erfc(x), used by Keras's GELU, by 1 − erf(x), since ONNX has no complementary error function."""
    node.type = "Erf"
    one = context.make_const(f"{name}_one", np.float32(1)).output[0]
    context.insert_new_node_on_output("Sub", node.output[0], f"{name}_complement", inputs=[one, node.output[0]])

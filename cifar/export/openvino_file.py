"""The intermediate representation of OpenVINO, converted from the frozen graph; checked with its runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import openvino

from cifar.export import graph
from cifar.export.source import Source, Written, batches

NAME, WEIGHTS = "model.xml", "model.bin"
BATCH = 128


def write(source: Source, folder: Path) -> list[Written]:
    names = list(source.named.output)
    model = openvino.convert_model(graph.frozen(source.named, None))
    model.inputs[0].set_names({"image"})
    for output, name in zip(model.outputs, names, strict=True):
        output.set_names({name})
    openvino.save_model(model, folder / NAME, compress_to_fp16=False)
    compiled = openvino.compile_model(folder / NAME, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def predict(images):
        results = compiled({"image": images})
        return {name: results[name] for name in names}

    return [Written("openvino", [NAME, WEIGHTS], lambda images: batches(predict, images, BATCH), tolerance=1e-4)]

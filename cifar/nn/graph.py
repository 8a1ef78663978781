"""Reading the graph of a functional model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cifar.runtime.lazy import keras


def deepest(features: Mapping[str, Any]) -> str:
    """The name of the feature map with the greatest stride, such as `P5` of `P3`, `P4` and `P5`."""
    return max(features, key=lambda level: int(level[1:]))


def last_layers(model: keras.Model) -> set[str]:
    """The names of the layers with weights that are the last on their ways to the outputs."""
    config = keras.Model(model.inputs, model.outputs).get_config()
    calls = {layer["name"]: layer["inbound_nodes"] for layer in config["layers"]}
    weighted = {operation.name for operation in model.operations if getattr(operation, "weights", ())}
    found, outputs = set(), list(config["output_layers"])
    while outputs:
        name, call, _ = outputs.pop()
        if name in weighted:
            found.add(name)
        elif calls[name]:
            tensors = [one for one in _mappings(calls[name][call]) if one.get("class_name") == "__keras_tensor__"]
            outputs.extend(tensor["config"]["keras_history"] for tensor in tensors)
    return found


def layer_inputs(model: keras.Model) -> dict[str, list[str]]:
    """By the name of each layer: the names of the layers that all of its calls take tensors of."""
    return {
        layer["name"]: [one["config"]["keras_history"][0] for one in _mappings(layer["inbound_nodes"])
                        if one.get("class_name") == "__keras_tensor__"]
        for layer in model.get_config()["layers"]
    }  # fmt: skip


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    """The mappings in `value`, a structure of lists and mappings such as a layer's call has in Keras's format."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from _mappings(part)

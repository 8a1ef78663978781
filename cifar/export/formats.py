"""Export formats and their requirements; writing them and comparing their outputs with Keras's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cifar.runtime import extras
from cifar.runtime.errors import InputError, TrainingError, did_you_mean
from cifar.runtime.quiet import silenced

if TYPE_CHECKING:
    from cifar.export.source import Source


FORMATS = {
    "savedmodel": (),
    "onnx": ("tf2onnx", "onnx", "onnxruntime"),
    "tflite": ("ai_edge_litert",),
    "openvino": ("openvino",),
    "keras": (),
}
"""The modules that each format needs in addition to TensorFlow and Keras."""
USUAL = ("savedmodel", "onnx", "tflite", "keras")
"""Those that are written by default; OpenVINO also reads the first three."""


class Checked(NamedTuple):
    """A written and checked model: files, their total bytes, the difference of its outputs to Keras's (see
    `Task.difference`), and metrics on the test images."""

    format: str
    files: list[str]
    size: int
    difference: float
    metrics: dict[str, float]


def chosen(given: str) -> list[str]:
    """Parse a comma-separated list of formats; raises `InputError` for unknown formats and missing requirements."""
    names = list(dict.fromkeys(name.strip() for name in given.split(",")))
    for name in names:
        if name not in FORMATS:
            raise InputError(f"--format {name}: unknown format; {did_you_mean(name, FORMATS)}")
        extras.require("export", f"--format {name}", *FORMATS[name])
    return names


def write(source: Source, names: Sequence[str], folder: Path) -> Iterator[Checked]:
    """Write the formats `names` to `folder`, yielding each when it is checked; the first result is Keras itself.

    Raises `TrainingError` if a format does not support the model, or its outputs differ from Keras's.
    """
    task, images = source.experiment.task, source.experiment.dataset.test.images
    expected = source.named.predict(images, verbose=0)
    yield Checked("", [], 0, 0.0, source.evaluate(expected))
    for name in names:
        try:
            with silenced(2):  # the converters' logs
                written = _write(name, source, folder)
                answers = [model.predict(images) for model in written]
        except Exception as error:  # converters raise various types for unknown layers
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise TrainingError(f"--format {name}: this model cannot be converted ({reason[:200]})") from error
        for model, outputs in zip(written, answers, strict=True):
            difference = task.difference(outputs, expected)
            if model.tolerance is not None and not difference <= model.tolerance:
                raise TrainingError(
                    f"--format {name}: outputs differ from Keras's by {difference:.1e}; accepted: at most "
                    f"{model.tolerance:.0e}"
                )
            size = sum((folder / file).stat().st_size for file in model.files)
            yield Checked(model.format, model.files, size, difference, source.evaluate(outputs))


def _write(name: str, source: Source, folder: Path) -> Sequence[Any]:
    """Write one format; its module, with its converter, is imported only here."""
    match name:
        case "savedmodel":
            from cifar.export.saved_model import write
        case "onnx":
            from cifar.export.onnx_file import write
        case "tflite":
            from cifar.export.tflite import write
        case "openvino":
            from cifar.export.openvino_file import write
        case "keras":
            from cifar.export.keras_file import write
    return write(source, folder)

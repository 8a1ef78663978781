"""The formats by name, what each needs, and all that are chosen written and held against Keras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cifar.runtime import extras
from cifar.runtime.errors import InputError, TrainingError, did_you_mean
from cifar.runtime.lazy import np
from cifar.runtime.quiet import silenced

if TYPE_CHECKING:
    from cifar.export.source import Source


FORMATS = {
    "savedmodel": (),
    "onnx": ("tf2onnx", "onnx", "onnxruntime"),
    "tflite": ("ai_edge_litert",),
    "keras": (),
}
"""The modules that each format needs in addition to TensorFlow and Keras."""


class Checked(NamedTuple):
    """A written model: its files and the bytes of all, how far its outputs are from Keras's at most (of outputs that go
    beyond 1, as a share of the greatest), and what metrics the test images give."""

    format: str
    files: list[str]
    size: int
    difference: float
    metrics: dict[str, float]


def chosen(given: str) -> list[str]:
    """The formats that `given` lists, with commas between; raises `InputError` for one that cannot be written here."""
    names = list(dict.fromkeys(name.strip() for name in given.split(",")))
    for name in names:
        if name not in FORMATS:
            raise InputError(f"--format {name}: unknown format; {did_you_mean(name, FORMATS)}")
        extras.require("export", f"--format {name}", *FORMATS[name])
    return names


def write(source: Source, names: Sequence[str], folder: Path) -> Iterator[Checked]:
    """Write the formats `names` to `folder`, and yield each as soon as it is checked; the first is Keras itself.

    Raises `TrainingError` for a model that one of them cannot hold, or holds otherwise.
    """
    images = source.experiment.dataset.test.images
    expected = source.named.predict(images, verbose=0)
    yield Checked("", [], 0, 0.0, source.evaluate(expected))
    for name in names:
        try:
            with silenced(2):  # the converters tell at length what they do
                written = _write(name, source, folder)
                answers = [model.predict(images) for model in written]
        except Exception as error:  # a converter raises anything for a layer that it does not know
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise TrainingError(f"--format {name}: this model cannot be written so ({reason[:200]})") from error
        for model, outputs in zip(written, answers, strict=True):
            difference = max(_difference(outputs[output], expected[output]) for output in expected)
            if model.tolerance is not None and not difference <= model.tolerance:
                raise TrainingError(
                    f"--format {name}: its outputs differ by {difference:.1e} from Keras's, more than "
                    f"{model.tolerance:.0e}"
                )
            size = sum((folder / file).stat().st_size for file in model.files)
            yield Checked(model.format, model.files, size, difference, source.evaluate(outputs))


def _write(name: str, source: Source, folder: Path) -> Sequence[Any]:
    """Write one format, whose module is imported only now: each loads a converter of its own."""
    match name:
        case "savedmodel":
            from cifar.export.saved_model import write
        case "onnx":
            from cifar.export.onnx_file import write
        case "tflite":
            from cifar.export.tflite import write
        case "keras":
            from cifar.export.keras_file import write
    return write(source, folder)


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))

"""`model.json`, the description of an export, and its summary for the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cifar.export.formats import Checked
from cifar.export.source import Source
from cifar.export.versioned_dir import CARD
from cifar.files.hashing import file_sha256
from cifar.interfaces import Resize
from cifar.runtime import terminal
from cifar.tracking import environment
from cifar.training.calibration import TEMPERATURE

PHOTOS: dict[Resize, str] = {
    "crop": "resized to cover the image, and cropped at their center",
    "letterbox": "resized to fit within the image with their aspect ratio kept, centered, black around them",
    "stretch": "resized to the sides of the image",
}
"""The preparation of photos of another size, bilinear with antialiasing, by `Preparation.resize`."""


def write(source: Source, reference: Checked, exported: Sequence[Checked], folder: Path) -> None:
    """Write `model.json` for the formats `exported` to `folder`; `reference` is Keras itself."""
    (folder / CARD).write_text(json.dumps(content(source, reference, exported, folder), indent=2) + "\n", "utf-8")


def content(source: Source, reference: Checked, exported: Sequence[Checked], folder: Path) -> dict[str, Any]:
    """Return the content of `model.json`. Shapes are (n, height, width, channels), with `null` for any n.

    `metrics` are those recorded by the run, with test-time augmentation `tta`. The model is exported without it and in
    float32: `test` has its metrics, and `formats` those of each file. A calibrated model has divided its logits by the
    `temperature`.
    """
    task = source.experiment.task
    run, settings, machine = source.run, source.experiment.settings, environment.describe()
    return {
        "run": {"id": run.id, "name": run.name, "experiment": run.experiment, "model": settings.model.name,
                "data": source.experiment.dataset.name, "task": settings.task.name,
                "git_commit": run.tags.get("git_commit")},
        "class_names": list(task.class_names),
        "input": {"name": "image", "shape": list(source.named.input_shape), "dtype": "uint8", "range": [0, 255],
                  "axes": ["image", "row", "column", "channel"],
                  "photos": PHOTOS[source.experiment.preparation.resize]},
        "outputs": {name: {"shape": list(output.shape), "dtype": output.dtype, **task.described_outputs().get(name, {})}
                    for name, output in source.named.output.items()},
        "metrics": dict(run.metrics),
        "tta": settings.evaluate.tta,
        **({"temperature": run.metrics.get(TEMPERATURE)} if settings.evaluate.calibration == "temperature" else {}),
        "test": reference.metrics,
        "formats": {model.format: {"file": model.files[0], "greatest_difference": model.difference,
                                   "test": model.metrics} for model in exported},
        "files": {name: {"bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)}
                  for model in exported for name in model.files},
        "weights_sha256": run.tags["weights_sha256"],
        "versions": {name: machine[name] for name in ("python", "tensorflow", "keras", "numpy")},
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def line(source: Source, model: Checked, reference: Checked) -> str:
    """Format a line about a format: size, metrics and their difference to those of `reference`."""
    names = [name for name in model.metrics if name != "loss"]
    shown = [name for name in source.experiment.task.metric_names if name in names] or names[:2]
    if model is reference:
        metrics = "  ".join(f"{name} {model.metrics[name]:.4f}" for name in shown)
        return f"run {source.run.id} in float32: {metrics} on the test images"
    changes = {name: terminal.signed(model.metrics[name] - reference.metrics[name]) for name in shown}
    metrics = "  ".join(f"{name} {model.metrics[name]:.4f} ({changes[name]})" for name in shown)
    return f"{model.files[0]:<17} {model.size:>12,} bytes  {metrics}  outputs differ by at most {model.difference:.1e}"


def summary(source: Source, folder: Path) -> str:
    """Format the last line: the export's folder, and the missing test-time augmentation."""
    tta = source.experiment.settings.evaluate.tta
    views = "" if tta == "none" else f"; without the test-time augmentation of evaluate.tta={tta}"
    return f"{folder} contains {source.experiment.settings.model.name}, with {CARD}{views}"

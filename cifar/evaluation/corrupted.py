"""A recorded run under the common corruptions: made from its test images, or read from published files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from cifar import tracking
from cifar.data.corruptions import KINDS, SEVERITIES, Kind, corrupt
from cifar.evaluation.subject import Request, Subject, on_other
from cifar.interfaces import Evaluation
from cifar.runtime.errors import InputError
from cifar.runtime.live import LiveLines
from cifar.runtime.paths import COMMAND
from cifar.runtime.terminal import duration

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

MEANS = ("accuracy", "loss", "ece")
"""Metrics whose means over kinds and severities are recorded."""
SIDE = 32
"""Pixels of the images that the severities are made for."""
Results = Mapping[tuple[Kind, int], Mapping[str, float]]
"""The metrics of each kind and severity."""


def evaluate(subject: Subject, request: Request) -> None:
    """Evaluate a run on all kinds and severities, showing them as they come; record them with it.

    Raises `InputError`.
    """
    task, shape = subject.experiment.task, subject.experiment.dataset.image_shape
    if not task.is_classifier:
        raise InputError(
            f"--corruptions: run {subject.run.id} has task={subject.experiment.settings.task.name}; accepted: a run "
            "that classifies images"
        )
    evaluation = summary(_results(subject, request))
    print(f"accuracy under corruption: {evaluation.metrics['accuracy']:.4f}, the mean of all above")
    if not subject.published and min(shape[:2]) != SIDE:
        print(f"the severities are made for {SIDE}×{SIDE} pixels; these images have {shape[0]}×{shape[1]}")
    tracking.EndedRun(subject.run).log_other(evaluation, subject.prefix, dict(subject.source))
    print(f"recorded under {subject.prefix}/, with a picture; `{COMMAND} compare` shows it")


def summary(results: Results) -> Evaluation:
    """Means over all kinds and severities and of each kind, a table of all, and the picture."""
    kinds = list(dict.fromkeys(kind for kind, _ in results))
    severities = list(dict.fromkeys(severity for _, severity in results))
    by_kind: dict[str, list[float]] = {
        kind: [results[kind, severity]["accuracy"] for severity in severities] for kind in kinds
    }
    metrics = {name: fmean(found[name] for found in results.values()) for name in MEANS}
    metrics |= {f"{kind}/accuracy": fmean(values) for kind, values in by_kind.items()}
    rows = [{"corruption": kind, "severity": severity, **{name: found[name] for name in MEANS}}
            for (kind, severity), found in results.items()]  # fmt: skip

    def picture() -> Figure:
        from cifar import plots

        return plots.corruption_table(by_kind, severities)

    return Evaluation(metrics, {"corruptions.csv": rows}, {"corruptions": picture})


def _results(subject: Subject, request: Request) -> Results:
    """Evaluate all parts; a line for each kind, and on a terminal one for the part that is being evaluated."""
    model = subject.model()
    temperature = subject.temperature()
    parts = subject.published.parts if subject.published else [(k, s) for k in KINDS for s in range(1, SEVERITIES + 1)]
    severities = list(dict.fromkeys(severity for _, severity in parts))
    width = max(len(kind) for kind, _ in parts)
    lines, start = LiveLines(), time.monotonic()
    lines.print(f"run {subject.run.id}: accuracy at severity {', '.join(map(str, severities))}")
    results: dict[tuple[Kind, int], Mapping[str, float]] = {}
    for done, (kind, severity) in enumerate(parts):
        left = (time.monotonic() - start) / done * (len(parts) - done) if done else 0.0
        lines.show([f"{kind} {severity}  {done}/{len(parts)}" + (f"  {duration(left)} left" if done else "")])
        results[kind, severity] = _metrics(subject, request, model, temperature, kind, severity)
        if severity == severities[-1]:
            found = [results[kind, level]["accuracy"] for level in severities]
            lines.print(f"{kind:<{width}}  {'  '.join(f'{value:.4f}' for value in found)}")
    lines.close()
    return results


def _metrics(
    subject: Subject, request: Request, model: keras.Model, temperature: float | None, kind: Kind, severity: int
) -> Mapping[str, float]:
    """The metrics of one part."""
    from cifar.training import trainer

    if subject.published:
        part = subject.published.part(kind, severity)
        experiment = on_other(subject.run, subject.experiment.settings, part, request.names)
        return trainer.test(experiment, model, temperature).metrics
    return trainer.test(
        subject.experiment, model, temperature, lambda images, first: corrupt(images, kind, severity, first)
    ).metrics

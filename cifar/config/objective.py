"""What a run is judged by: a validation metric, or what it costs; never the test images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cifar.config.renamed import unknown_metric
from cifar.runtime.errors import InputError

COSTS = ("model/parameters", "model/flops")
"""Logged metrics besides those of the validation that a sweep may look for the least of."""
MINIMIZED = ("loss", "error", "ece", "nll", "cross_entropy", "parameters", "flops", "bytes")
"""Ends of the names of metrics of which less is better; a suffix `_uncalibrated` may follow."""


def check(objectives: Iterable[str], logged: Iterable[str]) -> None:
    """Raises `InputError` where an objective is not among the `logged` validation metrics or the costs."""
    allowed = [*(name for name in logged if name.startswith("val/")), *COSTS]
    for name in objectives:
        if name.startswith("test/"):
            raise InputError(
                f"objective={name}: the test images judge the chosen run, they do not choose it; "
                f"{unknown_metric(name.replace('test/', 'val/', 1), allowed)}"
            )
        if name not in allowed:
            raise InputError(f"objective={name}: not a validation metric or a cost; {unknown_metric(name, allowed)}")


def lower_is_better(metric: str) -> bool:
    """True for metrics to minimize: losses, errors (`ece`, `nll`) and costs."""
    return metric.removesuffix("_uncalibrated").endswith(MINIMIZED)


def value(objective: str, metrics: Mapping[str, float]) -> float | None:
    """The objective of a finished run with these `metrics`: of the best epoch, where it is of an epoch."""
    return metrics.get(objective.replace("val/", "best/", 1))

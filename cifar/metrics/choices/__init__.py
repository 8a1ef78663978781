"""Test metrics, one file per task; each metric is a registered function and is always computed.

The parameters of a function name the values that it needs from the task. It returns a number, several by name, or None
if the metric does not apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cifar.config.registry import METRICS


def measured(task: str, **offered: Any) -> dict[str, float]:
    """Compute the test metrics of a task, by name, from the values `offered` by it."""
    metrics: dict[str, float] = {}
    for name in METRICS[task].registered():
        value = METRICS[task].build({"name": name}, **offered)
        values = value if isinstance(value, Mapping) else {name: value}
        metrics |= {key: float(number) for key, number in values.items() if number is not None}
    return metrics

"""The test metrics of each task, one file for each task: a metric is one registered function, and is always computed.

A function asks by the names of its parameters for what it needs of that which the task offers. It returns a number,
several by name, or `None` where the metric does not apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cifar.config.registry import METRICS


def measured(task: str, **offered: Any) -> dict[str, float]:
    """The test metrics of a task, by name, of what it has `offered`."""
    found: dict[str, float] = {}
    for name in METRICS[task].registered():
        value = METRICS[task].build({"name": name}, **offered)
        values = value if isinstance(value, Mapping) else {name: value}
        found |= {key: float(number) for key, number in values.items() if number is not None}
    return found

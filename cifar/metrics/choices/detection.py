"""Test metrics of `task=detection`.

The task offers `scores` (`cifar.metrics.detection.Scores`), the `predictions` and their `split`.
"""

from __future__ import annotations

from cifar.config.registry import METRICS
from cifar.metrics.detection import Scores


@METRICS["detection"].register
def coco(scores: Scores) -> dict[str, float]:
    """The metrics of the COCO challenge."""
    return scores.metrics

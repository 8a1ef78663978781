"""What came of a sweep's jobs, in tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cifar import objective
from cifar.sweep.jobs import Outcome
from cifar.text import columns, duration


def rows(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each outcome: the job, how it ended, its best epoch, its objectives, and the test of its metrics."""
    names = _metrics(outcomes, objectives)
    return [
        {
            "job": outcome.job.name,
            "status": outcome.status,
            **{name: outcome.metrics.get(name, "") for name in names},
            "seconds": round(outcome.seconds, 1),
            "run": outcome.run_id,
            "reason": outcome.reason,
        }
        for outcome in outcomes
    ]


def ranking(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> str:
    """The rows as text, the best by the first objective first, what has none last."""
    table = rows(sorted(outcomes, key=lambda outcome: _rank(outcome, objectives[0])), objectives)
    return "\n".join(columns([list(table[0]), *([_text(key, cell) for key, cell in row.items()] for row in table)]))


def _metrics(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> list[str]:
    """Those of the best epoch, and of the test the same but the loss."""
    best = dict.fromkeys(name for outcome in outcomes for name in outcome.metrics if name.startswith("best/"))
    test = [name.replace("best/", "test/") for name in best if name not in ("best/epoch", "best/loss")]
    return [*best, *(name for name in objectives if name in objective.COSTS), *test]


def _rank(outcome: Outcome, metric: str) -> float:
    value = objective.value(metric, outcome.metrics)
    if value is None or math.isnan(value):
        return math.inf
    return value if objective.lower_is_better(metric) else -value


def _text(key: str, cell: Any) -> str:
    if key == "seconds":
        return duration(cell) if cell else ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)

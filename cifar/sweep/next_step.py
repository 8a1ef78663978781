"""The end of a sweep in the terminal: the best job, and the commands that come next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cifar.config import objective
from cifar.runtime import terminal
from cifar.sweep import results
from cifar.sweep.jobs import Outcome

MOST_RUNS = 5
"""Repetitions of a setting that a command is written out for."""


def lines(outcomes: Sequence[Outcome], objectives: Sequence[str], sweep: str, commands: str) -> str:
    """The best setting by the one objective, and the commands that come next, each on a line of its own to be copied.

    `sweep` is the id of the sweep, `commands` the command line that those on recorded runs begin with. With several
    objectives there is no best job; empty where no job has finished.
    """
    finished = [outcome for outcome in outcomes if outcome.status == "FINISHED" and outcome.run_id]
    compare = f"{commands} compare --sweep {sweep[:8]}"
    if not finished:
        return ""
    if len(objectives) > 1:
        return _commands({compare: "the jobs"})
    best = _best(finished, objectives[0])
    if not best:
        return _commands({compare: "the jobs"})
    shown = f"best: {results.label(best) if len(best) > 1 else best[0].job.name}, {_value(best, objectives[0])}"
    if len(best) > MOST_RUNS or all(any(name.startswith("test/") for name in run.metrics) for run in best):
        return f"{shown}\n{_commands({compare: 'the jobs'})}"
    evaluate = f"{commands} evaluate {' '.join(run.run_id[:8] for run in best)}"
    return f"{shown}\n{_commands({evaluate: 'the best on the test images', compare: 'the jobs'})}"


def _commands(effects: Mapping[str, str]) -> str:
    """Commands with comments, as a shell takes them."""
    width = max(map(len, effects))
    return "\n".join(["next:", *(f"  {command:{width}}  # {effect}" for command, effect in effects.items())])


def _best(finished: Sequence[Outcome], metric: str) -> list[Outcome]:
    """The jobs of the best setting, by the mean over its repetitions; none where none has the metric."""
    groups = [group for group in results.repetitions(finished) if _mean(group, metric) is not None]
    return min(groups, key=lambda group: results.rank(metric, _mean(group, metric)), default=[])


def _mean(group: Sequence[Outcome], metric: str) -> float | None:
    values = [objective.value(metric, outcome.metrics) for outcome in group]
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _value(group: Sequence[Outcome], metric: str) -> str:
    mean = _mean(group, metric)
    assert mean is not None
    if len(group) > 1:
        return f"{metric} {terminal.number(mean)}, the mean of {len(group)} runs"
    epoch = group[0].metrics.get("best/epoch")
    return f"{metric} {terminal.number(mean)}" + ("" if epoch is None else f" in epoch {epoch:.0f}")

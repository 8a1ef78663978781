"""One recorded run: what it was made of, how it went, and what it left."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cifar.config.describe import REQUIRED
from cifar.config.objective import lower_is_better
from cifar.reference import differences
from cifar.reference.differences import Difference
from cifar.runtime import terminal
from cifar.runtime.paths import COMMAND
from cifar.tracking import edits, notes, queries, starts_of
from cifar.tracking.names import CONFIG, FAILURE, STOP_REASON, SWEEP
from cifar.tracking.queries import StoredRun

BARS = "▁▂▃▄▅▆▇█"
LONGEST = 40
"""Columns of a curve."""
SCORES = ("test/", "best/")


@dataclass(frozen=True)
class Portrait:
    """A run with its differing settings, the histories of its metrics, its artifacts and the jobs of a sweep."""

    run: StoredRun
    command: Sequence[str]
    differences: Sequence[Difference]
    history: Mapping[str, Sequence[float]]
    files: Mapping[str, int]
    """Sizes in bytes by path."""
    jobs: Sequence[StoredRun]

    @classmethod
    def of(cls, run_id: str) -> Portrait:
        """Reads what is recorded; raises `InputError` for an unknown run."""
        (run,) = queries.find_runs([run_id])
        files = queries.artifact_sizes(run)
        settings = queries.settings(run) if CONFIG in files else None
        curves = [name for name in run.metrics if name.startswith(("train/", "val/"))]
        started = starts_of(run) if SWEEP not in run.tags else []
        command = started[0].get("command", []) if started else []
        differing = differences.of(settings) if settings else []
        return cls(run, command, differing, queries.history(run, curves), files, queries.children(run))

    def as_plain(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        return {
            **plain(self.run),
            "command": self.command,
            "differences": {key: {"value": value, "default": default} for key, value, default in self.differences},
            "history": {name: [finite(value) for value in values] for name, values in self.history.items()},
            "files": dict(self.files),
            "jobs": [job.id for job in self.jobs],
        }


def plain(run: StoredRun) -> dict[str, Any]:
    """What JSON can hold of a run."""
    return {
        "id": run.id, "name": run.name, "status": run.status, "experiment": run.experiment, "parent": run.parent,
        "start": run.start.isoformat(timespec="seconds"), "seconds": run.seconds, "settings": dict(run.params),
        "metrics": {name: finite(value) for name, value in run.metrics.items()}, "tags": dict(run.tags),
    }  # fmt: skip


def finite(value: float) -> float | None:
    """`value`, or `None` for what JSON does not have."""
    return value if math.isfinite(value) else None


def as_text(portrait: Portrait, columns: int) -> str:
    """The run for a terminal of so many columns."""
    run = portrait.run
    kind = f"sweep of {len(portrait.jobs)} jobs" if SWEEP in run.tags else "run"
    head = [
        f"{kind} {run.id}: {run.name}, of experiment {run.experiment}",
        f"{run.status}, started {run.start:%Y-%m-%d %H:%M}, {terminal.duration(run.seconds)}",
        *([notes.shown(portrait.command)] if portrait.command else []),
    ]
    tags = {"how it ended": FAILURE, "stopped": STOP_REASON, "warnings": "warnings"}
    lines = [(label, line) for label, tag in tags.items() for line in run.tags.get(tag, "").splitlines()]
    lines += [("note", line) for line in notes.note_in(run.tags.get(notes.NOTE, "")).splitlines()]
    lines += [("tag", f"{key}={value}") for key, value in edits.own_tags(run).items()]
    said = [f"{label}: {line}" for label, line in lines]
    parts = [
        [terminal.printable(line) for line in head],
        [terminal.printable(line) for line in said],
        _settings(portrait, columns),
        _scores(run, columns),
        _curves(portrait, columns),
        _jobs(portrait),
        _files(portrait),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def sparkline(values: Sequence[float]) -> str:
    """A curve of at most `LONGEST` characters, from the least value to the greatest; a space where there is none."""
    count = min(len(values), LONGEST)
    parts = [values[number * len(values) // count : (number + 1) * len(values) // count] for number in range(count)]
    means = [_mean([value for value in part if math.isfinite(value)]) for part in parts]
    known = [mean for mean in means if math.isfinite(mean)]
    least, spread = min(known, default=0.0), (max(known, default=0.0) - min(known, default=0.0)) or 1.0
    last = len(BARS) - 1
    return "".join(BARS[round((mean - least) / spread * last)] if math.isfinite(mean) else " " for mean in means)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _settings(portrait: Portrait, columns: int) -> list[str]:
    if not portrait.differences:
        return []
    rows = [["setting", "value", "default"]]
    for key, value, default in portrait.differences:
        rows.append([key, _value(value), "required" if default == REQUIRED else _value(default)])
    return ["settings that differ from the defaults", terminal.table(rows, columns, whole=[0])]


def _scores(run: StoredRun, columns: int) -> list[str]:
    names = [name for start in SCORES for name in sorted(run.metrics) if name.startswith(start)]
    if not names:
        return []
    values = {name: run.metrics[name] for name in names}
    rows = [["metric", "value"], *([name, _score(name, value)] for name, value in values.items())]
    return ["scores", terminal.table(rows, columns)]


def _curves(portrait: Portrait, columns: int) -> list[str]:
    rows = [["metric", "first", "last", "best", "epoch", "curve"]]
    for name, values in sorted(portrait.history.items()):
        known = [value for value in values if math.isfinite(value)]
        if len(known) > 1:
            best = min(known) if lower_is_better(name) else max(known)
            numbers = [terminal.number(value) for value in (known[0], known[-1], best)]
            rows.append([name, *numbers, str(values.index(best) + 1), sparkline(values)])
    return ["epochs", terminal.table(rows, columns, whole=[0, 5])] if len(rows) > 1 else []


def _jobs(portrait: Portrait) -> list[str]:
    if not portrait.jobs:
        return []
    rows = [[job.id[:8], job.status, job.name] for job in portrait.jobs]
    head = f"jobs, which `{COMMAND} compare --sweep {portrait.run.id[:8]}` compares"
    return [head, terminal.table([["run", "status", "name"], *rows], 10_000)]


def _files(portrait: Portrait) -> list[str]:
    folders: dict[str, list[int]] = {}
    for path, size in portrait.files.items():
        name, slash, _ = path.partition("/")
        folders.setdefault(f"{name}{slash}", []).append(size)
    lines = [f"  {name}  {terminal.size(sum(sizes))}" + (f" in {len(sizes)}" if name.endswith("/") else "")
             for name, sizes in sorted(folders.items())]  # fmt: skip
    return ["files", *lines] if lines else []


def _value(value: Any) -> str:
    """A value as one types it."""
    if isinstance(value, list):
        return f"[{','.join(map(_value, value))}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _score(name: str, value: float) -> str:
    return f"{value:.0f}" if name == "best/epoch" else terminal.number(value)

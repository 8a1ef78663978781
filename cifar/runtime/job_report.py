"""Progress reports of a sweep's job to its sweep, as lines of JSON in a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

REPORT, SWEEP = "CIFAR_REPORT", "CIFAR_SWEEP"
"""The variables of a job's environment: the path of its report, and the process id of its sweep."""


def report(**values: Any) -> None:
    """Tell `values`, which JSON can hold; to nobody where this process is no job of a sweep."""
    if path := os.environ.get(REPORT):
        with Path(path).open("a") as file:
            file.write(json.dumps(values) + "\n")


def read(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """The reports from byte `start` on, and the position to read from next; an incomplete line is left."""
    if not path.exists():
        return [], start
    with path.open("rb") as file:
        file.seek(start)
        whole = file.read().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines()], start + len(whole) + bool(whole)


def is_orphan() -> bool:
    """True if this process is a job whose sweep has ended."""
    sweep = os.environ.get(SWEEP)
    return sweep is not None and os.getppid() != int(sweep)

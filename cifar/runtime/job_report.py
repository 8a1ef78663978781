"""What a job of a sweep tells the sweep that started it, as lines of JSON in a file that the sweep reads."""

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
    """What has been told from byte `start` on, and where to go on reading; a line half written is left for then."""
    if not path.exists():
        return [], start
    with path.open("rb") as file:
        file.seek(start)
        whole = file.read().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines()], start + len(whole) + bool(whole)


def is_orphan() -> bool:
    """Whether this process is a job whose sweep is gone."""
    sweep = os.environ.get(SWEEP)
    return sweep is not None and os.getppid() != int(sweep)

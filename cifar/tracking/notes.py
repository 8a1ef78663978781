"""What MLflow's page shows as the description of a run, in Markdown: the user's note, the command, the scores."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from cifar.runtime.paths import ROOT
from cifar.runtime.terminal import number, redact

NOTE = "mlflow.note.content"
"""The tag that MLflow shows as a description."""
SCORES = ("test/", "best/")
"""How the metrics begin that a description has."""
MOST_ROWS = 30
LONGEST = 3500
"""Characters of a command, and of a table, of which both fit the 8,000 that MLflow keeps of a tag."""
ADDED = ("tracking.name=", "tracking.parent=", "resume=", "hydra.mode=")
"""How the settings begin that a sweep adds to those of a job."""


def shown(command: Sequence[str]) -> str:
    """A command line as one types it: `command` are Python's own arguments, the program first.

    That of a sweep's job lacks what the sweep has added, so that it trains the same alone.
    """
    _, *arguments = command
    if any(argument.startswith("tracking.parent=") for argument in arguments):
        arguments = [argument for argument in arguments if not argument.startswith(ADDED)]
    return shlex.join(["python", *(redact(argument).removeprefix(f"{ROOT}/") for argument in arguments)])


def of_run(note: str, command: str, metrics: Mapping[str, float]) -> str:
    """The description of a single run; of the `metrics`, those of the test images and of the best epoch are shown."""
    rows = [[name, _value(name, metrics[name])] for start in SCORES for name in metrics if name.startswith(start)]
    return _joined(note, _block(command), markdown([["metric", "value"], *rows]) if rows else "")


def of_sweep(note: str, command: str, rows: Sequence[Sequence[str]]) -> str:
    """The description of a sweep: `rows` are the table of its jobs, the first of which is the header."""
    shown = list(rows[: MOST_ROWS + 1])
    while len(shown) > 1 and len(markdown(shown)) > LONGEST:
        shown.pop()
    rest = f"{len(rows) - len(shown)} more in results.csv" if len(rows) > len(shown) else ""
    return _joined(note, _block(command), markdown(shown) if len(shown) > 1 else "", rest)


def note_in(description: str) -> str:
    """The note with which a description begins; empty if there is none."""
    return description[: _end(description)].strip()


def with_note(description: str, note: str) -> str:
    """A description with another note; what follows it stays."""
    return _joined(note, description[_end(description) :])


def _end(description: str) -> int:
    """Where the command begins, which follows the note."""
    found = description.find("```\npython ")
    return len(description) if found < 0 else found


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; its first row is the header."""
    lines = [" | ".join(cell.replace("|", r"\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in [lines[0], " | ".join("---" for _ in rows[0]), *lines[1:]])


def _block(command: str) -> str:
    return f"```\n{command if len(command) <= LONGEST else f'{command[: LONGEST - 1]}…'}\n```"


def _value(name: str, value: float) -> str:
    return f"{value:.0f}" if name.endswith("/epoch") else number(value)


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)

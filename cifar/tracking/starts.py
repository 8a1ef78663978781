"""The starts of a run, of which a resume is one: what each went by, and the epoch from which that holds."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cifar.config.settings import Settings, flatten
from cifar.runtime.terminal import redact
from cifar.tracking.environment import Code

NOT_RECORDED = ("resume", "dry_run")
"""Settings of a single start, in which the run is the same."""

Start = dict[str, Any]
"""What `starts.json` holds of a start; `settings` are those that it changes, each as [before, now]."""


def start(epoch: int, step: int, code: Code, diff: str | None, environment: Mapping[str, Any],
          settings: Mapping[str, Any]) -> Start:  # fmt: skip
    """This process as a start at step `step`, from 0, of epoch `epoch`, from 1.

    `diff` names the file with the changes of the code, if there are any.
    """
    return {
        "epoch": epoch, "step": step, "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [redact(argument) for argument in sys.orig_argv],
        "git_commit": code.commit, "git_changes": code.changes, "git_diff": diff, "environment": environment,
        "settings": settings,
    }  # fmt: skip


def of_earlier_version(tags: Mapping[str, str]) -> list[Start]:
    """The start of a run by a version that recorded no starts, by the tags of the run; none for a new run."""
    if "git_commit" not in tags:
        return []
    changes = "unknown" if tags.get("git_dirty") == "True" else ""
    return [{"epoch": 1, "step": 0, "git_commit": tags["git_commit"], "git_changes": changes, "git_diff": "git.diff"}]


def changes(before: Settings, now: Settings) -> dict[str, tuple[Any, Any]]:
    """The settings that differ, by their dotted keys."""
    old, new = flatten(before), flatten(now)
    return {key: (old.get(key), new.get(key)) for key in old | new
            if old.get(key) != new.get(key) and key not in NOT_RECORDED}  # fmt: skip


def code(starts: Sequence[Start]) -> str:
    """The code that a run was trained by: `0123456789, 9876543210 with changes 1a2b3c4d5e from epoch 3`."""
    places = [(one["epoch"], one["step"]) for one in starts[1:]] + [None]
    parts: list[str] = []
    shown = ""
    for one, end in zip(starts, places, strict=True):
        if (one["epoch"], one["step"]) == end:  # it ended before it had trained anything that is left
            continue
        commit, changes = str(one["git_commit"])[:10], one["git_changes"]
        mark = "" if changes in ("", "unknown") else f" {changes[:10]}"
        code = f"{commit} with changes{mark}" if changes else commit
        if code != shown:
            parts.append(f"{code} from epoch {one['epoch']}" if parts else code)
        shown = code
    return ", ".join(parts)

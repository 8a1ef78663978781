"""What a recorded run was trained with — code, versions, machine — and what of that is otherwise now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cifar.config.settings import Settings
from cifar.tracking import environment, starts
from cifar.tracking.starts import Start

NAME = "host"
"""What a machine is called; the only part of the environment that cannot change a result."""


class Difference(NamedTuple):
    """Something that was otherwise when the run was trained; equal bits are not promised if it `decides` them."""

    name: str
    recorded: str
    now: str
    decides: bool = True


def differences(recorded: Sequence[Start], code: environment.Code, machine: starts.Start) -> list[Difference]:
    """Compare all starts of a run with the code and the environment (`environment.describe`) of this process."""
    found = []
    if not all(_is_same_code(one, code) for one in recorded):
        now = starts.code([{"epoch": 1, "step": 0, "git_commit": code.commit, "git_changes": code.changes}])
        found.append(Difference("code", starts.code(recorded), now))
    environments = [one["environment"] for one in recorded if "environment" in one]
    if not environments:
        found.append(Difference("versions and machine", "not recorded", ""))
    for name, now in machine.items():
        values = [there[name] for there in environments if name in there]  # an earlier version recorded fewer
        if any(value != now for value in values):
            found.append(Difference(name, ", ".join(dict.fromkeys(map(str, values))), str(now), name != NAME))
    return found


def reasons(settings: Settings, recorded: Sequence[Start], machine: starts.Start) -> Iterator[str]:
    """Why equal bits are not promised for a run, though nothing may differ."""
    if not settings.deterministic:
        yield "deterministic=false"
    if settings.distribute != "none":
        yield f"distribute={settings.distribute}"
    if machine["gpu"]:
        yield "a GPU is used"
    for one in recorded[1:]:
        if "epochs" in one.get("settings", {}):
            before, after = one["settings"]["epochs"]
            yield f"the run was resumed with epochs={after} instead of {before}, from epoch {one['epoch']} on"


def _is_same_code(start: Start, code: environment.Code) -> bool:
    """True if the start went by this code; commits between that change no module do not matter."""
    if start["git_commit"] is None or code.commit is None or start["git_changes"] != code.changes:
        return False
    return start["git_commit"] == code.commit or (
        not code.changes and environment.changed_modules(start["git_commit"]) == []
    )

"""The name of a run: that of its model, and what the command line sets otherwise than the defaults."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cifar.config.command_line import parts
from cifar.config.settings import Settings
from cifar.runtime.paths import CONF

UNNAMED = ("model", "task", "data", "data.path", "extensions", "resume", "dry_run", "objective", "state.minutes")
"""Settings that a name leaves out: they are in the label of the model, in that of the experiment, or decide nothing."""
UNNAMED_GROUPS = ("tracking", "evaluate", "hydra")
LONGEST = 80
"""Characters of a name."""


def with_name(settings: Settings, given: Sequence[str]) -> Settings:
    """`settings` of a single run with a name that says what the overrides `given` change, unless they name the run."""
    is_named = settings.tracking.parent or any(override.startswith("tracking.name=") for override in given)
    changes = [] if is_named else _changes(given)
    if not changes:
        return settings
    name = " ".join([settings.tracking.name, *changes])
    name = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    return settings.model_copy(update={"tracking": settings.tracking.model_copy(update={"name": name})})


def _changes(given: Iterable[str]) -> list[str]:
    """The overrides with the last part of their keys, of equal keys the last: `lr=0.1`, `sgd`, `depth=44`."""
    shown = {}
    for override in given:
        key, value = parts(override.lstrip("+"))
        if key in UNNAMED or key.replace("/", ".").partition(".")[0] in UNNAMED_GROUPS:
            continue
        is_choice = value.replace("_", "").isalnum() and (CONF / key).is_dir()
        shown[key] = value if is_choice else f"{key.rpartition('.')[2]}={value}" if value else key
    return list(shown.values())

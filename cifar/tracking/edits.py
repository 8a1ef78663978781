"""What a user changes in recorded runs: tags, a note, deletion. The store is the one that `connect_existing` opened."""

from __future__ import annotations

import re
from collections.abc import Mapping

import mlflow

from cifar.runtime.errors import InputError
from cifar.runtime.terminal import unescaped
from cifar.tracking import notes, queries, store
from cifar.tracking.queries import StoredRun

OF_PROGRAM = re.compile(
    r"(mlflow|resumed|evaluated|looks|not_recorded|race|sync|git|cifar)[._].*|race|cpu|code|described|devices|failure|lacks"
    r"|precision|process|reproduction(_of)?|schedule_moved|stop_reason|sweep|warnings|\w+_sha256|\w+_fingerprint"
)
"""Tags that this program and MLflow set themselves."""


def own_tags(run: StoredRun) -> dict[str, str]:
    """The tags that a user has set."""
    return {key: value for key, value in run.tags.items() if not OF_PROGRAM.fullmatch(key)}


def set_tags(run: StoredRun, tags: Mapping[str, str]) -> None:
    """Set tags; an empty value removes one. Raises `InputError` for a tag that the program keeps for itself."""
    client = mlflow.MlflowClient()
    for key in tags:
        if OF_PROGRAM.fullmatch(key):
            raise InputError(f"tag {key}: is set by the program; choose another name")
    with store.reported(InputError, f"run {run.id}"):
        for key, value in tags.items():
            if value:
                client.set_tag(run.id, unescaped(key), unescaped(value))
            elif key in run.tags:
                client.delete_tag(run.id, key)


def set_note(run: StoredRun, text: str) -> None:
    """Put `text` before the command and the scores in the description of a run that MLflow's page shows."""
    with store.reported(InputError, f"run {run.id}"):
        described = notes.with_note(run.tags.get(notes.NOTE, ""), text)
        mlflow.MlflowClient().set_tag(run.id, notes.NOTE, unescaped(described))


def delete(run: StoredRun) -> list[StoredRun]:
    """Hide a run, and the jobs of a sweep, from all commands; `gc` deletes their files. Returns what was hidden.

    Raises `InputError` where one of them is running.
    """
    runs = [run, *queries.children(run)]
    if running := next((one for one in runs if one.status == "RUNNING"), None):
        raise InputError(f"delete {run.id}: run {running.id} is running")
    with store.reported(InputError, f"run {run.id}"):
        for one in runs:
            mlflow.MlflowClient().delete_run(one.id)
    return runs

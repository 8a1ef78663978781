"""Where Optuna keeps its studies: a SQLite file, or a PostgreSQL database that several machines share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from cifar.runtime import extras
from cifar.runtime.errors import InputError
from cifar.runtime.quiet import silence
from cifar.runtime.terminal import redact

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

HEARTBEAT, GRACE = 10, 60
"""Seconds between two signs of life of a running trial, and those without one after which it counts as abandoned."""


def check(url: str) -> None:
    """Raises `InputError` where studies cannot be kept at an address such as `url`."""
    try:
        address = make_url(url)
    except ArgumentError:
        address = None
    if not address or address.get_backend_name() not in ("sqlite", "postgresql") or not address.database:
        raise InputError(
            f"hydra.sweeper.storage={redact(url)}: should be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    if address.get_backend_name() == "postgresql":
        extras.require("cluster", f"hydra.sweeper.storage={redact(url)}", "psycopg")


def open_storage(url: str) -> RDBStorage:
    """The storage at `url`; a trial without a heartbeat is queued again, with the values reported for its epochs."""
    import optuna

    silence("optuna", warnings=[".* is (an )?experimental", "Heartbeat of storage is supposed to be used"])
    return optuna.storages.RDBStorage(
        url,
        # Jobs that write to one SQLite file wait for each other; a PostgreSQL server may have been restarted.
        {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True},
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(
            inherit_intermediate_values=True
        ),
    )

"""Locks that processes sharing a store hold on a name."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from cifar.files import ownership
from cifar.runtime import processes
from cifar.tracking.addresses import folder

KEEPALIVE = {"tcp_keepalives_idle": 60, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 6}
"""PostgreSQL's settings of a connection: it lets go of a lock 2 minutes after the holder's machine has failed."""


@dataclass(frozen=True)
class Lock:
    """A name that no other process gets until this one, and those that inherited `descriptors` from it, let it go.

    A process that ends lets go, however it ends. On PostgreSQL a lock holds for all machines and is not inherited;
    else it holds for those that share the folder of the store.
    """

    held: IO[bytes] | Connection

    def sign(self) -> None:
        """Leave the name of this process with the lock, for processes of other machines: see `was_left_by`."""
        if not isinstance(self.held, Connection):
            self.held.truncate(0)
            self.held.write(processes.this_process().encode())
            self.held.flush()

    def was_left_by(self, process: str) -> bool:
        """True if this is the lock that `process`, perhaps of another machine, held until it ended."""
        if isinstance(self.held, Connection):
            return True
        self.held.seek(0)
        return self.held.read() == process.encode() != b""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a process must be given at its start to hold the lock too."""
        return () if isinstance(self.held, Connection) else (self.held.fileno(),)

    def release(self) -> None:
        """Let go; those that inherited it may hold it still."""
        self.held.close()

    def end(self) -> None:
        """Let go of what nobody will lock again."""
        if not isinstance(self.held, Connection):
            Path(self.held.name).unlink(missing_ok=True)
        self.release()


def lock(uri: str, name: str, *, wait: bool = False) -> Lock | None:
    """The lock on `name` among the users of the store; `None` where another process has it, unless `wait` is true."""
    return _advisory_lock(uri, name, wait) if uri.startswith("postgresql") else _file_lock(uri, name, wait)


@contextmanager
def locked(uri: str, name: str) -> Iterator[None]:
    """Inside the `with`, no other process is inside one of this `name`."""
    held = lock(uri, name, wait=True)
    assert held
    try:
        yield
    finally:
        held.release()


def _file_lock(uri: str, name: str, wait: bool) -> Lock | None:
    path = folder(uri) / ".claims" / name
    ownership.make_folder(path.parent)
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return Lock(file)


def _advisory_lock(uri: str, name: str, wait: bool) -> Lock | None:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    # Without a transaction, which would keep the database from cleaning up for as long as the lock is held.
    connection = create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect()
    for setting, value in KEEPALIVE.items():
        connection.execute(text(f"SET {setting} = {value}"))
    if wait:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
    elif not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
        connection.close()
        return None
    return Lock(connection)

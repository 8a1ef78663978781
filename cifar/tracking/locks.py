"""Locks that processes sharing a store hold on a name."""

from __future__ import annotations

import fcntl
import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from cifar.files import ownership
from cifar.runtime import processes
from cifar.tracking.addresses import folder

LOOK = 5.0
"""Seconds between two looks of a holder at its lock in a database."""
RETURN = 30.0
"""Seconds after the start of a database server within which all living holders have their locks again."""
CLIENT = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "tcp_user_timeout": 30_000}
"""libpq's settings of a connection: an error within half a minute where the server's machine does not answer."""
SERVER = {"tcp_keepalives_idle": 60, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 6}
"""PostgreSQL's settings of a connection: it lets go of a lock 2 minutes after the holder's machine has failed."""
END = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE (pid, backend_start) = (:pid, :start)")
"""Ends a connection of which the server does not know yet that it is lost."""
LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's code of the error of a lock that is not to be had within `lock_timeout`."""


class Lock(ABC):
    """A name that no other process gets until this one lets it go. A process that ends lets go, however it ends."""

    descriptors: tuple[int, ...] = ()
    """What a process must be given at its start to hold the lock too."""

    is_sure: bool
    """False where a process that still runs may have held it until now."""

    @abstractmethod
    def sign(self, lost: Callable[[], None]) -> None:
        """Leave the name of this process with the lock, for processes of other machines: see `was_left_by`.

        `lost` is called, from a thread, once another process has got it while this one could not reach the store.
        """

    @abstractmethod
    def was_left_by(self, process: str) -> bool:
        """True if this is the lock that `process`, perhaps of another machine, held until it ended."""

    @abstractmethod
    def release(self) -> None:
        """Let go; those that inherited it may hold it still."""

    def end(self) -> None:
        """Let go of what nobody will lock again."""
        self.release()


class FileLock(Lock):
    """A lock for all that share the folder of the store, and for those that inherited its descriptor."""

    is_sure = True

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.descriptors = (file.fileno(),)

    def sign(self, lost: Callable[[], None]) -> None:
        self._file.truncate(0)
        self._file.write(processes.this_process().encode())
        self._file.flush()

    def was_left_by(self, process: str) -> bool:
        self._file.seek(0)
        return self._file.read() == process.encode() != b""

    def release(self) -> None:
        self._file.close()

    def end(self) -> None:
        Path(self._file.name).unlink(missing_ok=True)
        self.release()


class DatabaseLock(Lock):
    """An advisory lock of PostgreSQL, which holds for all machines and ends with the connection.

    A thread looks after it. Where the connection is lost, as when the server is started again, it takes the lock again.
    """

    def __init__(self, uri: str, key: int, connection: Connection):
        self._uri, self._key, self._connection = uri, key, connection
        self._session = _session(connection)
        self._lost: Callable[[], None] = lambda: None
        self._released = threading.Event()
        self.is_sure = bool(
            connection.scalar(text(f"SELECT now() - pg_postmaster_start_time() > interval '{RETURN} s'"))
        )
        self._thread = threading.Thread(target=self._look_after, name="lock", daemon=True)
        self._thread.start()

    def sign(self, lost: Callable[[], None]) -> None:
        self._lost = lost

    def was_left_by(self, process: str) -> bool:
        return self.is_sure

    def release(self) -> None:
        self._released.set()
        self._thread.join(LOOK)

    def _look_after(self) -> None:
        while not self._released.wait(LOOK):
            if not self._is_connected() and self._is_lost():
                self._lost()
                break
        self._connection.close()

    def _is_connected(self) -> bool:
        if self._connection.invalidated:
            return False
        try:
            self._connection.execute(text("SELECT 1"))
        except DBAPIError:
            self._connection.invalidate()
            return False
        return True

    def _is_lost(self) -> bool:
        """Take the lock again, if the server answers; true if another process has it."""
        try:
            connection = _connect(self._uri)
        except DBAPIError:
            return False
        try:
            connection.execute(END, {"pid": self._session[0], "start": self._session[1]})
            connection.execute(text(f"SET lock_timeout = '{LOOK} s'"))
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": self._key})
            self._session = _session(connection)
        except DBAPIError as error:
            connection.close()
            return getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE
        self._connection = connection
        return False


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
    return FileLock(file)


def _advisory_lock(uri: str, name: str, wait: bool) -> Lock | None:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    connection = _connect(uri)
    if wait:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
    elif not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
        connection.close()
        return None
    return DatabaseLock(uri, key, connection)


def _connect(uri: str) -> Connection:
    # Without a transaction, which would keep the database from cleaning up for as long as the lock is held.
    engine = create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=CLIENT)
    connection = engine.connect()
    for setting, value in SERVER.items():
        connection.execute(text(f"SET {setting} = {value}"))
    return connection


def _session(connection: Connection) -> tuple[int, datetime]:
    """What the server knows a connection by."""
    row = connection.execute(text("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")).one()
    return row.pid, row.backend_start

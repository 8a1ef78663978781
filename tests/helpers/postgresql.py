"""A PostgreSQL server, whose processes run as `nobody` where the tests run as root."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from helpers.processes import wait_for

NOBODY = 65534


class Postgresql:
    """A server with an empty database, whose `url` has the password; its files in `folder`, which exists.

    `start(*command)` starts a process, where it is to run.
    """

    def __init__(self, folder: Path, address: str, port: int, start: Callable[..., subprocess.Popen]):
        self.password = secrets.token_hex(8)
        self.url = f"postgresql://cifar:{self.password}@{address}:{port}/postgres"
        self._folder, self._address, self._port, self._start = folder, address, port, start
        self._tools = Path(str(shutil.which("initdb"))).resolve().parent
        self._user = [] if os.getuid() else ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        if self._user:
            os.chown(folder, NOBODY, NOBODY)
        (folder / "password").write_text(self.password)
        subprocess.run(
            [*self._user, self._tools / "initdb", "-D", folder / "data", "-U", "cifar", "--auth=scram-sha-256",
             f"--pwfile={folder / 'password'}"], check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet scram-sha-256\n")
        self.start()

    @staticmethod
    def reason_against() -> str:
        """Why no server can be started here; empty if one can."""
        return "" if shutil.which("initdb") else "PostgreSQL's binaries are not on the PATH"

    def start(self) -> None:
        folder = self._folder
        self._process = self._start(
            *self._user, self._tools / "postgres", "-D", folder / "data", "-p", self._port, "-k", folder,
            "-c", f"listen_addresses={self._address}", "-c", "fsync=off",
        )  # fmt: skip
        wait_for(self._answers)

    def stop(self) -> None:
        """End it at once, whoever is connected."""
        stop = (self._tools / "pg_ctl", "-D", self._folder / "data", "-m", "immediate", "stop")
        assert self._start(*self._user, *stop).wait() == 0
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the server has ended"
        ready = [self._tools / "pg_isready", "-h", self._folder, "-p", str(self._port)]
        return subprocess.run(ready, capture_output=True).returncode == 0

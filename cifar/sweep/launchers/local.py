"""Jobs as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import PrivateAttr

from cifar.runtime import job_report, machine
from cifar.runtime.errors import DEBUG
from cifar.sweep.forkserver import UNKNOWN, Fork, ForkServer
from cifar.sweep.jobs import GRACE, Job, Options, Process, Slot


class Local(Options):
    """How jobs are run on this machine: what `conf/hydra/launcher/process.yaml` states."""

    warm: bool
    _server: ForkServer | None = PrivateAttr(None)

    def start(self, job: Job, folder: Path, slot: Slot) -> Process:
        return LocalProcess(job, folder, slot, self.timeout, self._forkserver(job, slot))

    def _forkserver(self, job: Job, slot: Slot) -> ForkServer | None:
        """What `job` is to be a fork of; `None` where it is to load its libraries itself."""
        if not self.warm or sys.platform != "linux" or slot.gpu is not None or "backend=jax" in job.overrides:
            return None
        self._server = self._server or ForkServer()
        return self._server

    def close(self) -> None:
        if self._server:
            self._server.close()


class LocalProcess(Process):
    """A process of this machine, on the cores of its `slot`; ended, as FAILED, after `timeout` minutes.

    It is a fork of the `server`, if there is one and it runs.
    """

    def __init__(self, job: Job, folder: Path, slot: Slot, timeout: float | None, server: ForkServer | None):
        super().__init__(job, folder)
        self.report.unlink(missing_ok=True)
        self._timeout, self._timed_out = timeout, ""
        self._told_to_end: float | None = None
        inherited = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR" or DEBUG}
        own = {job_report.REPORT: str(self.report), job_report.SWEEP: str(os.getpid())}
        variables = {**inherited, **own, **slot.variables, **job.environment}
        with self.console.open("wb") as console:
            self._process = self._begin(variables, slot, console.fileno(), server)
        self._started = time.monotonic()  # the server may have had to load its libraries first

    def _begin(
        self, variables: Mapping[str, str], slot: Slot, console: int, server: ForkServer | None
    ) -> Fork | subprocess.Popen[bytes]:
        if server:
            with contextlib.suppress(OSError):  # where it has ended
                return server.start(self.command, variables, slot.cores, console, self.job.inherited)
        # In a session of its own, the job gets the sweep's signals, and not the terminal's Ctrl-C as well.
        process = subprocess.Popen(
            self.command,
            env=variables,
            pass_fds=self.job.inherited,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
        )
        machine.keep_to(process.pid, slot.cores)
        return process

    def end(self, signum: int) -> None:
        self._told_to_end = self._told_to_end or time.monotonic()
        self._process.send_signal(signum)

    def _has_ended(self) -> bool:
        if self._process.poll() is not None:
            return True
        if self._timeout and self.seconds > 60 * self._timeout and not self._timed_out:
            self._timed_out = f"timed out after {self._timeout:g} minutes"
            self.end(signal.SIGTERM)
        if self._told_to_end and time.monotonic() - self._told_to_end > GRACE:
            self._process.kill()
        return False

    def _cut_short(self) -> str:
        return self._timed_out

    def _code(self) -> int | None:
        return None if self._process.returncode == UNKNOWN else self._process.returncode

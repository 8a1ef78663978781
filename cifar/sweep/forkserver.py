"""A process that has loaded the libraries of a training and computed nothing: jobs of a sweep are forks of it.

Loading takes more than a third of the processor time of a short job. TensorFlow does not survive a fork once it has
computed, since its threads are not there in the new process; to load it starts none of them.

The server gets a request for each job: JSON, with the descriptors of the files that the job keeps. It answers with a
process id, and later with how that process ended. It ends when its connection is closed, as at the end of the sweep.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cifar.runtime import interrupts, job_report, lazy, machine, processes
from cifar.runtime.lazy import np
from cifar.runtime.paths import IS_INSTALLED, PACKAGE, ROOT, RUN_PROCESS
from cifar.runtime.status import status

LIBRARIES = (
    "h5py", "hydra.main", "mlflow.data.numpy_dataset", "mlflow.models", "mlflow.store.tracking.sqlalchemy_store",
    "pydantic", "seaborn", "sklearn.metrics",
)  # fmt: skip
"""What a training loads besides TensorFlow and Keras."""
SEARCH = "" if IS_INSTALLED else f"sys.path.insert(0, {str(PACKAGE.parent)!r}); "
START = f"import sys; {SEARCH}from cifar.sweep import forkserver; forkserver.main()"
REQUEST, ANSWER = 1 << 18, 64
"""The greatest number of bytes of each."""
FILES = 16
"""The greatest number of files that a job keeps."""
READY = 0
"""The answer, in place of a process id, once the libraries are loaded."""
UNKNOWN = 256
"""The exit code of a process that has ended after its server."""


class ForkServer:
    """Starts processes that train on TensorFlow, without the time to load it; on Linux."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._codes: dict[int, int] = {}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in a terminal does not reach it
            )
        self._is_ready = False

    def start(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        cores: Collection[int],
        console: int,
        inherited: Sequence[int] = (),
    ) -> Fork:
        """Run `command`, which begins as `RUN_PROCESS`, with nothing but these environment `variables`.

        It runs on the `cores`, writes to the file `console`, and keeps the files `inherited` open. Raises `OSError`
        where the server has ended.
        """
        if not self._is_ready:
            with status("loading TensorFlow for the jobs"):
                self._read()
            self._is_ready = True
        asked = {"command": list(command), "variables": dict(variables), "cores": sorted(cores)}
        with interrupts.deferred():  # no process is asked for and then forgotten
            socket.send_fds(self._connection, [json.dumps(asked).encode()], [console, *inherited])
            while (pid := self._read()) is None:
                pass
        return Fork(self, pid)

    def code(self, pid: int) -> int | None:
        """The exit code of a process, less than 0 for the signal that ended it; `None` while it runs.

        Raises `OSError` where the server has ended before.
        """
        while pid not in self._codes and select.select([self._connection], [], [], 0)[0]:
            self._read()
        return self._codes.pop(pid, None)

    def close(self) -> None:
        """End the server, of which its processes are orphans then."""
        self._connection.close()
        self._process.wait()

    def _read(self) -> int | None:
        """The id of a process that has been started; `None` for an answer with the exit code of one."""
        answer = self._connection.recv(ANSWER)
        if not answer:
            raise ConnectionResetError("the server that forks the jobs has ended")
        pid, code = json.loads(answer)
        if code is not None:
            self._codes[pid] = code
            return None
        return int(pid)


class Fork:
    """A process that a `ForkServer` has started, with what a sweep uses of `subprocess.Popen`."""

    returncode: int | None = None

    def __init__(self, server: ForkServer, pid: int):
        self.pid, self._server, self._process = pid, server, processes.process(pid)

    def poll(self) -> int | None:
        """Its exit code, `UNKNOWN` where the server has ended before it; `None` while it runs."""
        if self.returncode is None:
            try:
                self.returncode = self._server.code(self.pid)
            except OSError:
                self.returncode = UNKNOWN if processes.is_gone(self._process) else None
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def main() -> None:
    """Be the server, whose connection is the descriptor on the command line; in each of its forks, be the job."""
    server = os.getpid()
    os.close(os.pidfd_open(server))  # a system without these refuses here, before a job is asked for
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        lazy.load_tensorflow()
        for name in LIBRARIES:
            lazy.load(name)
        _answer(connection, READY)
        asked, files = _serve(connection)
    own = {job_report.SWEEP: str(server), processes.FORKED: "1"}
    _become(asked["command"], {**asked["variables"], **own}, asked["cores"], files[0])


def _serve(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for each request until the connection is closed; in each fork, return the request and its files."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not connection:
                    _report_end(connection, selector, key)
                elif request := _fork(connection, selector):
                    return request


def _fork(connection: socket.socket, selector: selectors.BaseSelector) -> tuple[dict[str, Any], list[int]] | None:
    """Fork for the next request, which the fork returns; ends the process where there is none."""
    content, files, _, _ = socket.recv_fds(connection, REQUEST, FILES)
    if not content:
        sys.exit()
    if not (pid := os.fork()):
        for key in selector.get_map().values():
            if key.fileobj is not connection:  # a process of the server, which is none of its fork's
                os.close(key.fd)
        return json.loads(content), files
    for file in files:
        os.close(file)
    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
    _answer(connection, pid)
    return None


def _report_end(connection: socket.socket, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Answer how the process of `key` has ended."""
    _, ended = os.waitpid(key.data, 0)
    selector.unregister(key.fileobj)
    os.close(key.fd)
    _answer(connection, key.data, os.waitstatus_to_exitcode(ended))


def _answer(connection: socket.socket, pid: int, code: int | None = None) -> None:
    try:
        connection.send(json.dumps([pid, code]).encode())
    except BrokenPipeError:  # the sweep has ended
        sys.exit()


def _become(command: list[str], variables: dict[str, str], cores: list[int], console: int) -> None:
    """Run `command` in this process, as an interpreter that has just begun; files that it keeps are open already."""
    os.setsid()
    machine.keep_to(0, cores)
    os.dup2(console, 1)
    os.dup2(console, 2)
    os.close(console)
    os.environ.clear()
    os.environ.update(variables)
    np.random.seed()
    sys.orig_argv = command
    sys.argv = [str(ROOT / "run.py"), *command[len(RUN_PROCESS) :]]
    # The modules of this project read the command line and the environment when they are loaded.
    for name in [name for name in sys.modules if name.partition(".")[0] == "cifar"]:
        del sys.modules[name]
    runpy.run_path(sys.argv[0], run_name="__main__")

"""`python run.py …` and `python -m cifar …` without the seconds in which their libraries load.

A server loads the libraries, but no code of the project, and forks a process for each request. That process ends as any
`python` does; only its modules are there already. A sweep's jobs are such processes too: what the sweep takes for
`python` is a small client of the server. A server that watches writes preloads `preload.c`, so that they can be counted
and fail. This file imports nothing of the project, for its clients must start fast.

    python tests/helpers/warm.py SERVE SOCKET     the server
    python tests/helpers/warm.py SOCKET ARGUMENT… a client that stands for `python ARGUMENT…`, as jobs of sweeps use it
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

WRITE, CREATE, OPEN, NAME, FLUSH = 1, 2, 4, 8, 16
"""The kinds of calls that `preload.c` counts: on the content of a file; that makes a file or folder; that opens one for
writing; that renames or deletes one; that flushes one to the disk."""
ANY = WRITE | CREATE | OPEN | NAME | FLUSH


@dataclass(frozen=True)
class Watch:
    """What a process does at its `at`th call of these `kinds` on a path below `folder` with `part` in it.

    It gets a signal, or the call fails. With `lasting` all later ones fail too. Each call is a line in the file `log`.
    """

    folder: str
    log: str
    kinds: int = ANY
    part: str = ""
    at: int = 0
    error: int = 0
    lasting: bool = False
    signum: int = 0


@dataclass(frozen=True)
class Completed:
    """A process that has ended; `code` is negative where a signal has ended it."""

    code: int
    stdout: str
    stderr: str


@dataclass
class Server:
    """Where warm processes come from; it ends with this process at the latest, and `close` ends it and all of them."""

    folder: Path
    watches_writes: bool = False
    _process: subprocess.Popen = field(init=False)

    def __post_init__(self):
        self.socket, self.python = self.folder / "socket", self.folder / "python"
        here = Path(__file__).resolve()
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{here}" "{self.socket}" "$@"\n')
        self.python.chmod(0o755)
        log = self.folder / "server.log"
        self._process = subprocess.Popen(
            [sys.executable, here, "SERVE", self.socket, self.python],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            env={**clean_environment(), **(self._preload(here) if self.watches_writes else {})},
        )
        assert self._process.stdout.readline() == b"ready\n", log.read_text()

    def _preload(self, here: Path) -> dict[str, str]:
        library, source = self.folder / "preload.so", here.with_name("preload.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        return {"LD_PRELOAD": str(library)}

    def start(self, *arguments: object, cwd: Path, watch: Watch | None = None, **variables: str) -> Process:
        """`python ARGUMENTS…` in `cwd`, in a clean environment with `variables`."""
        return Process(self, [str(argument) for argument in arguments], cwd, watch, variables)

    def run(self, *arguments: object, cwd: Path, watch: Watch | None = None, timeout: float = 120, **variables: str):
        """The same, until it has ended."""
        return self.start(*arguments, cwd=cwd, watch=watch, **variables).wait(timeout)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Process:
    """A warm process; `pid` is its process id."""

    def __init__(self, server: Server, arguments: list[str], cwd: Path, watch: Watch | None, variables: dict[str, str]):
        self._out, self._err = (tempfile.NamedTemporaryFile("w+b", dir=server.folder) for _ in (1, 2))  # noqa: SIM115
        self._connection = request(server.socket, arguments, str(cwd), {**clean_environment(), **variables},
                                   {1: self._out.fileno(), 2: self._err.fileno()}, watch)  # fmt: skip
        self.pid = int(self._connection.readline())

    def stdout(self) -> str:
        """What it has printed by now."""
        return Path(self._out.name).read_text(errors="replace")

    def stderr(self) -> str:
        """The errors that it has printed by now."""
        return Path(self._err.name).read_text(errors="replace")

    def is_alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def signal(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def wait(self, timeout: float = 120) -> Completed:
        self._connection.timeout(timeout)
        try:
            code = int(self._connection.readline())
        finally:
            self._connection.close()
        ended = Completed(code, self.stdout(), self.stderr())
        self._out.close()
        self._err.close()
        return ended


class Connection:
    """Lines that a socket brings."""

    def __init__(self, connected: socket.socket):
        self._socket, self._lines = connected, connected.makefile("r")

    def readline(self) -> str:
        line = self._lines.readline()
        assert line, "the server of warm processes is gone"
        return line

    def fileno(self) -> int:
        return self._socket.fileno()

    def timeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def clean_environment() -> dict[str, str]:
    """The variables of this process but those that change what the project shows, without a GPU."""
    dropped = ("HYDRA_", "MLFLOW_", "PYTHON", "TF_", "KERAS_", "PYTEST_", "MPL", "LD_PRELOAD", "GIT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "CUDA_VISIBLE_DEVICES": "-1"}


def request(path: Path | str, arguments: list[str], cwd: str, variables: dict[str, str], files: dict[int, int],
            watch: Watch | None = None) -> Connection:  # fmt: skip
    """Ask the server at `path` for a process whose file n is `files[n]`; two lines come: process id, exit code."""
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(str(path))
    asked = {"arguments": arguments, "cwd": cwd, "environment": variables, "files": list(files),
             "watch": vars(watch) if watch else None}  # fmt: skip
    content = json.dumps(asked).encode()
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files.values()))]
    connected.sendmsg([len(content).to_bytes(4, "big")], ancillary)
    connected.sendall(content)
    return Connection(connected)


def stand_in(path: str, *arguments: str) -> int:
    """Be `python ARGUMENTS…` by a process of the server at `path`: with this one's files, signals and exit code."""
    if not (arguments and arguments[0].endswith("run.py")) and arguments[:2] != ("-P", "-c"):
        os.execv(sys.executable, [sys.executable, *arguments])
    files = {number: number for number in map(int, os.listdir("/proc/self/fd")) if number and is_open(number)}
    process = request(path, list(arguments), os.getcwd(), dict(os.environ), files)
    pid = int(process.readline())
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda signum, frame: os.kill(pid, signum))
    code = int(process.readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    return code


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def serve(path: str, python: str) -> dict | None:
    """Serve until killed; in each process that is asked for, return what is asked."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    signal.signal(signal.SIGCHLD, _reap)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listening, 0], [], [])
        if 0 in ready:  # its end: the process that started the server is gone
            sys.exit()
        connected, _ = listening.accept()
        if os.fork():
            connected.close()
            continue
        listening.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        size, files, _, _ = socket.recv_fds(connected, 4, 64)
        content = connected.makefile("rb").read(int.from_bytes(size, "big"))
        client, _, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        asked = {**json.loads(content), "python": python, "client": client}
        pid = os.fork()
        if not pid:
            connected.close()
            _take(files, asked["files"])
            return asked
        for file in files:
            os.close(file)
        connected.sendall(f"{pid}\n".encode())
        os._exit(_look_after(pid, connected))


def _reap(*_: object) -> None:
    """Wait for processes that have ended, so that their processor time counts as the tests'."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _look_after(pid: int, connected: socket.socket) -> int:
    """Tell the client how its process ends; kill the process if the client is gone."""
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([ended, connected], [], [])
    if ended not in ready:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        connected.sendall(f"{code}\n".encode())
    return 0


def _take(received: list[int], numbers: list[int]) -> None:
    """Make the `received` files those of these `numbers`, and nothing the standard input."""
    high = [os.dup2(file, 500 + position, inheritable=False) for position, file in enumerate(received)]
    for file in received:
        os.close(file)
    for file, number in zip(high, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)


def load() -> None:
    """What a run and the commands load. It computes nothing, for TensorFlow does not survive a fork after that."""
    import gc
    import importlib
    import logging

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    sys.modules["jax"] = None
    import tensorflow  # noqa: F401

    del sys.modules["jax"]
    for name in (
        "keras", "mlflow.tensorflow", "mlflow.models", "mlflow.pyfunc.scoring_server", "mlflow.data.numpy_dataset",
        "mlflow.data.code_dataset_source", "mlflow.store.tracking.sqlalchemy_store", "alembic.command", "seaborn",
        "mlflow.store.model_registry.sqlalchemy_store", "sklearn.metrics", "hydra", "hydra.main",
        "hydra._internal.hydra", "optuna", "scipy.stats", "PIL.Image", "pydantic", "pandas", "h5py",
    ):  # fmt: skip
        importlib.import_module(name)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    if "LD_PRELOAD" not in os.environ:  # watched writes are those that MLflow makes
        import stores

        stores.schema()
        stores.replace_migrations()
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    figure.subplots().set_title("fonts are looked for once")
    figure.canvas.draw()
    gc.collect()
    gc.freeze()


def _become(asked: dict) -> None:
    """Be the process that is asked for."""
    import ctypes
    import random
    import runpy

    import numpy as np

    os.setsid()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.executable = asked["python"]
    client = asked["client"]
    if asked["arguments"][0].endswith("run.py"):
        os.getppid = lambda: _parent(client)
    random.seed()
    np.random.seed()
    if "DRAWS" not in os.environ and not asked["watch"]:
        import drawing

        drawing.leave_out()
    if asked["watch"]:
        watch = Watch(**asked["watch"])
        ctypes.CDLL(None).arm(os.fsencode(watch.folder), os.fsencode(watch.part), os.fsencode(watch.log), watch.kinds,
                              ctypes.c_long(watch.at), watch.error, int(watch.lasting), watch.signum)  # fmt: skip
    first, *rest = (argument for argument in asked["arguments"] if argument != "-P")
    if first == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], asked["cwd"]
        sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.argv, sys.path[0] = rest, asked["cwd"]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [first, *rest], os.path.dirname(os.path.abspath(first))
        runpy.run_path(first, run_name="__main__")


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 1


if __name__ == "__main__":
    if sys.argv[1] != "SERVE":
        sys.exit(stand_in(*sys.argv[1:]))
    load()
    _become(serve(*sys.argv[2:]))

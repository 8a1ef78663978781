"""Processes for work that would block the event loop, or might not end: parsing of long bodies, decoding of photos.

A thread would not do: JSON is parsed without releasing the interpreter, and a thread cannot be stopped.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from starlette.exceptions import HTTPException

from cifar.runtime.paths import ROOT

PROCESSES = 2
SECONDS, WAIT = 10, 20
"""Maximum processor time of a call, and maximum time that it waits for a process."""
MAX_MEMORY = 2**32
"""Bytes of addresses of a process."""


class Worker:
    """A process that calls functions, one at a time, and ends when one takes more than `seconds` of processor time."""

    def __init__(self, seconds: int):
        ours, theirs = socket.socketpair()
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), str(seconds)],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            )
        self._connection = Connection(ours.detach())
        self._connection.recv()  # it has loaded its libraries

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Exception | None]:
        """Call a module's function in the process; returns its result, or its exception.

        Raises `OSError` or `EOFError` when the process has ended.
        """
        self._connection.send((function, arguments))
        answer: tuple[Any, Exception | None] = self._connection.recv()
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Workers:
    """`PROCESSES` workers, which start when they are needed."""

    def __init__(self, seconds: int = SECONDS):
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(PROCESSES, "worker")
        self._places = asyncio.Semaphore(PROCESSES)
        self._idle: list[Worker] = []

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function` in a worker; raises its exception, or `HTTPException` when it takes too much."""
        try:
            async with asyncio.timeout(WAIT):
                await self._places.acquire()
        except TimeoutError:
            raise HTTPException(503, "too many large requests", {"Retry-After": "1"}) from None
        try:
            return await self._call(function, arguments)
        finally:
            self._places.release()

    async def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        loop = asyncio.get_running_loop()
        worker = self._idle.pop() if self._idle else await loop.run_in_executor(self._threads, Worker, self._seconds)
        is_whole = False
        try:
            result, error = await loop.run_in_executor(self._threads, worker.call, function, arguments)
            is_whole = True
        except (OSError, EOFError):
            raise HTTPException(422, f"decoding takes more than {self._seconds} s, or too much memory") from None
        finally:
            if is_whole:
                self._idle.append(worker)
            else:
                worker.kill()
        if error:
            raise error
        return result

    def end(self) -> None:
        """Kill the idle workers; the others notice the end of this process."""
        for worker in self._idle:
            worker.kill()
        self._idle.clear()


def main() -> None:
    """Call what arrives at the socket, until it is closed."""
    for signum in (signal.SIGINT, signal.SIGTERM):  # the service decides when it ends
        signal.signal(signum, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    connection = Connection(int(sys.argv[1]))
    importlib.import_module("PIL.Image").preinit()
    importlib.import_module("PIL.WebPImagePlugin")  # else its first file would load the plugins of all formats
    importlib.import_module(f"{__spec__.parent}.decoding")
    connection.send(None)
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        answer: tuple[Any, Exception | None]
        used = resource.getrusage(resource.RUSAGE_SELF)
        most = int(used.ru_utime + used.ru_stime) + int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))  # SIGXCPU ends the process
        try:
            answer = function(*arguments), None
        except Exception as error:
            answer = None, error
        try:
            connection.send(answer)
        except OSError:
            return


if __name__ == "__main__":
    main()

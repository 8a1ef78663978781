"""The service as a process: its socket, its signals, and its graceful shutdown."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from cifar.runtime.errors import InputError, warn
from cifar.runtime.lazy import load_tensorflow
from cifar.serving.access_log import AccessLog
from cifar.serving.app import build
from cifar.serving.middleware import RequestMiddleware
from cifar.serving.protocol import Protocol
from cifar.serving.service import Service
from cifar.serving.sources import Source, find_current
from cifar.serving.tokens import Tokens
from cifar.tracking.queries import StoredRun

if TYPE_CHECKING:
    from cifar.serving.models import Model


ACCEPTED = 16
"""New connections that the event loop accepts at once. libuv accepts one for each listening socket (since its version
1.45, github.com/libuv/libuv/pull/3696), so that the last of many would wait for the work between all of them."""
KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than in proxies, so that the proxy closes connections."""
NOTICE, LINGER, LAST = 1.0, 2.0, 5
"""Seconds after SIGTERM: in which `readyz` fails and new connections are accepted still; at most, in which new
connections send their first request; at most, in which requests in flight are answered."""


@dataclass(frozen=True)
class Models:
    """The models of a service, from the runs that the `sources` find at the moment."""

    sources: Sequence[Source]
    uri: str | None
    service: Service

    def load(self, runs: dict[str, StoredRun] | None = None) -> None:
        """Load the models of `runs`, by default those found now; raises `InputError`, and keeps the earlier models.

        Models already loaded are kept.
        """
        runs = runs or find_current(self.sources, self.uri)
        load_tensorflow()
        from cifar.serving.models import Model

        def loaded(name: str, run: StoredRun) -> Model:
            kept = service.models.get(name)
            if kept and kept.run.id == run.id:
                return kept
            return Model(name, run, self.uri, service.limits, service.metrics.batches_of(name))

        service = self.service
        models = {name: loaded(name, run) for name, run in runs.items()}
        freeze_garbage()
        service.models = models


def freeze_garbage() -> None:
    """Collect garbage, and exclude the remaining objects from later collections.

    Each full collection of the objects of TensorFlow and Keras would pause the service for a third of a second.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def serve(
    models: Models, runs: dict[str, StoredRun], tokens: Tokens, listener: socket.socket,
    *, origins: Sequence[str], log: AccessLog | None,
) -> None:  # fmt: skip
    """Serve the models of `runs` at `listener` until SIGTERM, which ends the process; raises `InputError`.

    At SIGHUP, the models are loaded and the tokens are read again.
    """
    service = models.service
    config = uvicorn.Config(
        application(service, tokens, origins, log),
        http=partial(Protocol, timeout=service.limits.timeout),
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=LAST,
    )
    server = Server(config, models, runs, tokens)
    server.run([listener, *(listener.dup() for _ in range(ACCEPTED - 1))])
    service.workers.end()
    if server.failure:
        raise server.failure
    if log:
        log.flush()
    sys.stdout.flush()
    os._exit(0)  # without waiting for threads that compute or load


def application(service: Service, tokens: Tokens, origins: Sequence[str], log: AccessLog | None) -> ASGIApp:
    """Build the application with its middleware; web pages of `origins` may use it."""
    app = RequestMiddleware(build(service, bool(tokens)), service, tokens, log)
    if not origins:
        return app
    return CORSMiddleware(
        app, allow_origins=origins, allow_methods=["GET", "POST"], expose_headers=["X-Request-ID"],
        allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
    )  # fmt: skip


class Server(uvicorn.Server):
    """Uvicorn's server with a shutdown that loses no request, and a reload of models at SIGHUP."""

    def __init__(self, config: uvicorn.Config, models: Models, runs: dict[str, StoredRun], tokens: Tokens):
        super().__init__(config)
        self._models, self._runs, self._tokens = models, runs, tokens
        self._service = models.service
        self._loader = ThreadPoolExecutor(1, "loader")
        self._loading: asyncio.Task | None = None
        self._is_asked_again = False
        self.failure: BaseException | None = None
        """The reason why the first models could not be loaded."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = sockets[0].getsockname()[:2]
        self._url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
        self._loading = asyncio.create_task(self._load_first())

    def handle_exit(self, signum: int, frame: FrameType | None) -> None:
        """Shut down gracefully; a second Ctrl-C does not wait. Unlike uvicorn's own, do not raise the signal again."""
        self.force_exit = self.should_exit and signum == signal.SIGINT
        self.should_exit = self._service.is_draining = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down gracefully: fail readiness, stop accepting, answer the requests in flight.

        Each answer from then on closes its connection, so that none is closed under a request.
        """
        self._service.is_draining = True
        await asyncio.sleep(NOTICE if self._service.models and not self.force_exit else 0)
        deadline = asyncio.get_running_loop().time() + LINGER
        await self._wait_while(lambda: _has_waiting(sockets), deadline, 0)
        for server in self.servers:
            server.close()
        await self._wait_while(lambda: any(one.is_new for one in self.server_state.connections), deadline, 0.05)
        await super().shutdown(sockets)

    async def _wait_while(self, condition: Callable[[], bool], deadline: float, pause: float) -> None:
        loop = asyncio.get_running_loop()
        while condition() and loop.time() < deadline and not self.force_exit:
            await asyncio.sleep(pause)

    async def _load_first(self) -> None:
        """Load the models, and end the service if they cannot be loaded."""
        try:
            await self._load(self._runs)
        except Exception as error:
            self.failure, self.should_exit = error, True
            return
        print(f"serving at {self._url}", flush=True)

    def _reload(self) -> None:
        """Load again what the sources find, when all that is loading is there."""
        try:
            self._tokens.read_again()
        except InputError as error:
            warn(f"reload failed: {error}")
        if self._loading and not self._loading.done():
            self._is_asked_again = True
        else:
            self._loading = asyncio.create_task(self._load_again())

    async def _load_again(self) -> None:
        try:
            await self._load()
        except Exception as error:
            warn(f"reload failed: {error}")

    async def _load(self, runs: dict[str, StoredRun] | None = None) -> None:
        """Load models in a thread; requests in flight keep theirs."""
        await asyncio.get_running_loop().run_in_executor(self._loader, self._models.load, runs)
        for model in self._service.models.values():
            print(f"{model.name} is run {model.run.id}", flush=True)
        if self._is_asked_again:
            self._is_asked_again = False
            await self._load_again()


def _has_waiting(sockets: Sequence[socket.socket]) -> bool:
    """True while connections wait to be accepted, which the kernel would reset if a listening socket were closed."""
    return bool(select.select(sockets, [], [], 0)[0])

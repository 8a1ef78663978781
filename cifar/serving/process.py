"""The service as a process: its socket, its signals, and its graceful shutdown."""

from __future__ import annotations

import asyncio
import gc
import select
import signal
import socket
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from cifar.runtime.errors import warn
from cifar.runtime.lazy import load_tensorflow
from cifar.serving.app import build
from cifar.serving.limits import Limits
from cifar.serving.middleware import RequestMiddleware
from cifar.serving.protocol import Protocol
from cifar.serving.service import Service
from cifar.serving.sources import Source, find_current
from cifar.tracking.queries import StoredRun

if TYPE_CHECKING:
    from cifar.serving.models import Model


KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than in proxies, so that the proxy closes connections."""
NOTICE, LINGER, LAST = 1.0, 2.0, 5
"""Seconds after SIGTERM: in which `readyz` fails and new connections are accepted still; at most, in which new
connections send their first request; at most, in which requests in flight are answered."""


def load(runs: dict[str, StoredRun], service: Service, uri: str | None) -> dict[str, Model]:
    """Load the models of these runs; models already loaded are kept."""
    from cifar.serving import models

    loaded = {}
    for name, run in runs.items():
        kept = service.models.get(name)
        observe = service.metrics.batches_of(name)
        loaded[name] = kept if kept and kept.run.id == run.id else models.Model(name, run, uri, service.limits, observe)
    return loaded


def freeze_garbage() -> None:
    """Collect garbage, and exclude the remaining objects from later collections.

    Each full collection of the objects of TensorFlow and Keras would pause the service for a third of a second.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def serve(
    sources: Sequence[Source], runs: dict[str, StoredRun], uri: str | None, limits: Limits, token: str | None,
    listener: socket.socket,
) -> None:  # fmt: skip
    """Serve the models of `runs` at `listener` until SIGTERM; at SIGHUP, reload them from `sources`."""
    service = Service(limits)
    load_tensorflow()
    service.models = load(runs, service, uri)
    freeze_garbage()
    config = uvicorn.Config(
        RequestMiddleware(build(service), service, token),
        http=partial(Protocol, timeout=limits.timeout),
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=LAST,
    )
    Server(config, service, sources, uri).run([listener])


class Server(uvicorn.Server):
    """Uvicorn's server with a shutdown that loses no request, and a reload of models at SIGHUP."""

    def __init__(self, config: uvicorn.Config, service: Service, sources: Sequence[Source], uri: str | None):
        super().__init__(config)
        self._service, self._sources, self._uri = service, sources, uri
        self._reloading: asyncio.Task | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        host, port = sockets[0].getsockname()[:2]
        for model in self._service.models.values():
            print(f"{model.name} is run {model.run.id}")
        print(f"serving at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)

    def handle_exit(self, signum: int, frame: FrameType | None) -> None:
        """Shut down gracefully; a second Ctrl-C does not wait. Unlike uvicorn's own, do not raise the signal again."""
        self.force_exit = self.should_exit and signum == signal.SIGINT
        self.should_exit = self._service.is_draining = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down gracefully: fail readiness, stop accepting, answer the requests in flight.

        Each answer from then on closes its connection, so that none is closed under a request.
        """
        self._service.is_draining = True
        await asyncio.sleep(0 if self.force_exit else NOTICE)
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

    def _reload(self) -> None:
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._reload_models())

    async def _reload_models(self) -> None:
        """Load the runs that the sources find now; requests in flight keep their models."""
        try:
            self._service.models = await asyncio.to_thread(
                lambda: load(find_current(self._sources, self._uri), self._service, self._uri)
            )
        except Exception as error:
            warn(f"reload failed: {error}")
            return
        freeze_garbage()
        for model in self._service.models.values():
            print(f"{model.name} is run {model.run.id}", flush=True)


def _has_waiting(sockets: Sequence[socket.socket]) -> bool:
    """True while connections wait to be accepted, which the kernel would reset if a listening socket were closed."""
    return bool(select.select(sockets, [], [], 0)[0])

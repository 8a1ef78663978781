"""The service as a process: its socket, its signals, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import signal
import socket
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from cifar.errors import warn
from cifar.lazy import Lazy, load_tensorflow
from cifar.serving.app import Service, build
from cifar.serving.guard import HEADERS, Guard
from cifar.serving.limits import Limits
from cifar.serving.sources import Source, found
from cifar.tracking.queries import StoredRun

if TYPE_CHECKING:
    from cifar.serving.models import Model

models = Lazy("cifar.serving.models")  # all that needs TensorFlow

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than proxies keep theirs, so that they are the ones who close."""
HEAD_BYTES = 2**16
NOTICE, LINGER, LAST = 1.0, 2.0, 5.0
"""Seconds after SIGTERM: in which `readyz` tells of it and new requests are answered still; at most, in which those who
have connected by then send theirs; at most, in which what is in hand is finished."""


def load(runs: dict[str, StoredRun], service: Service, uri: str | None) -> dict[str, Model]:
    """The models of these runs; those that the service has already are kept."""
    loaded = {}
    for name, run in runs.items():
        kept = service.models.get(name)
        observe = service.metrics.batches_of(name)
        loaded[name] = kept if kept and kept.run.id == run.id else models.Model(name, run, uri, service.limits, observe)
    return loaded


def settle() -> None:
    """Free what is not used any more, and do not look at the rest again.

    Each full collection of what TensorFlow and Keras leave takes a third of a second, in which nothing is answered.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def serve(
    sources: Sequence[Source], runs: dict[str, StoredRun], uri: str | None, limits: Limits, token: str | None,
    place: socket.socket,
) -> None:  # fmt: skip
    """Answer at the socket `place` with the models of `runs`, which `sources` find again at SIGHUP, until SIGTERM."""
    service = Service(limits)
    load_tensorflow()
    service.models = load(runs, service, uri)
    settle()
    config = uvicorn.Config(
        Guard(build(service), service, token),
        http=Protocol,
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
    config.load()
    Server(config, service, sources, uri).run([place])


class Server(uvicorn.Server):
    """Uvicorn's server that ends without losing a request, and loads models anew at SIGHUP."""

    def __init__(self, config: uvicorn.Config, service: Service, sources: Sequence[Source], uri: str | None):
        super().__init__(config)
        self._service, self._sources, self._uri = service, sources, uri
        self._reloading: asyncio.Task | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._door = sockets[0].dup()
        await super().startup(sockets)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        host, port = sockets[0].getsockname()[:2]
        for model in self._service.models.values():
            print(f"{model.name} is run {model.run.id}")
        print(f"serving at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)

    def handle_exit(self, signum: int, frame: FrameType | None) -> None:
        """End in order; a second Ctrl-C does not wait. Unlike uvicorn's own, it does not raise the signal again."""
        self.force_exit = self.should_exit and signum == signal.SIGINT
        self.should_exit = self._service.is_ending = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell it, take what comes meanwhile, and close the door; then answer what is in hand.

        Each answer from then on closes its connection, so that none is closed under a request.
        """
        self._service.is_ending = True
        await asyncio.sleep(0 if self.force_exit else NOTICE)
        await self._close_door()
        loop = asyncio.get_running_loop()
        end = loop.time() + LINGER
        while loop.time() < end and any(one.is_new for one in self.server_state.connections) and not self.force_exit:
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)

    async def _close_door(self) -> None:
        """Let in who has connected by now, and nobody else; the kernel would reset those who wait in its queue."""
        for server in self.servers:
            server.close()  # the event loop's own hold on the socket
        self._door.setblocking(False)
        entered = []
        with contextlib.suppress(BlockingIOError):
            while True:
                entered.append(self._door.accept()[0])
        self._door.close()
        loop = asyncio.get_running_loop()
        for connection in entered:
            await loop.connect_accepted_socket(
                lambda: Protocol(self.config, self.server_state, self.lifespan.state, loop), connection
            )

    def _reload(self) -> None:
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._load_again())

    async def _load_again(self) -> None:
        """Answer with the runs that the sources find now; what is in hand is answered by the models it came to."""
        try:
            self._service.models = await asyncio.to_thread(
                lambda: load(found(self._sources, self._uri), self._service, self._uri)
            )
        except Exception as error:
            warn(f"not loaded anew: {error}")
            return
        settle()
        for model in self._service.models.values():
            print(f"{model.name} is run {model.run.id}", flush=True)


class Protocol(HttpToolsProtocol):
    """Uvicorn's protocol with a limit to the size and the time of a request's head, and refusals in JSON."""

    @property
    def is_new(self) -> bool:
        """Whether no request has come yet."""
        return self.cycle is None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._head = 0
        self._await_head()

    def connection_lost(self, error: Exception | None) -> None:
        self._due.cancel()
        super().connection_lost(error)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        self._due.cancel()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._due.cancel()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head += len(data)
        if not self._due.cancelled() and self._head > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, f"the head of the request has more than {HEAD_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _await_head(self) -> None:
        self._due = self.loop.call_later(self.config.app.limits.timeout, self._late)

    def _late(self) -> None:
        if self._head and not self.transport.is_closing():
            self._refuse(408, "the request did not come in time")
        self.transport.close()

    def _refuse(self, code: int, told: str) -> None:
        content = json.dumps({"error": told}).encode()
        headers = {**HEADERS, "content-type": "application/json", "content-length": len(content), "connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(STATUS_LINE[code] + head.encode() + b"\r\n" + content)
        self.transport.close()

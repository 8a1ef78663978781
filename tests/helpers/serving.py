"""A service of `python -m cifar serve`, and its clients."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import time
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cifar.images.photos import Preparation
from cifar.runtime.paths import ROOT
from cifar.serving import service as services
from cifar.serving.app import build
from cifar.serving.limits import Limits
from cifar.serving.middleware import RequestMiddleware
from cifar.serving.tokens import VARIABLE, Tokens
from helpers.processes import free_port, wait_for, warm_server
from helpers.warm import Completed

BODY = 200_000
"""The most bytes that the service under test takes."""


class Service:
    """A service that has been started, on a port of its own, with its models unless it `is_loaded` later."""

    def __init__(self, uri: str, *arguments: str, is_loaded: bool = True):
        self.port = free_port()
        command = ("-m", "cifar", "--tracking-uri", uri, "serve", "--port", str(self.port), *arguments)
        self.process = warm_server().start(*command, cwd=ROOT)
        self._ended: Completed | None = None
        started = self._serving if is_loaded else self._answers
        wait_for(lambda: started() or not self.process.is_alive())
        assert not is_loaded or self._serving(), self.output()

    def output(self) -> str:
        if self._ended:
            return self._ended.stdout + self._ended.stderr
        return self.process.stdout() + self.process.stderr()

    def _serving(self) -> bool:
        return f"serving at http://127.0.0.1:{self.port}\n" in self.output()

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "/livez").code == 200
        except ConnectionRefusedError:
            return False

    def ask(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> SimpleNamespace:
        """The answer on a connection of its own: code, headers, and content, as JSON if it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        is_json = answer.headers["content-type"] == "application/json"
        return SimpleNamespace(code=answer.status, headers=answer.headers,
                               content=json.loads(content) if is_json else content.decode())  # fmt: skip

    def predict(self, content: object, path: str = "/v1/models/digits:predict", **headers: str) -> SimpleNamespace:
        body = content if isinstance(content, (bytes, str)) else json.dumps(content)
        return self.ask("POST", path, body, **{"content_type": "application/json"} | headers)

    def upload(self, content: bytes, content_type: str = "image/png", **headers: str) -> SimpleNamespace:
        return self.ask("POST", "/predict", content, content_type=content_type, **headers)

    def raw(self, *parts: bytes, pause: float = 0) -> bytes:
        """All that the service sends to a client who sends `parts`, until it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            received = b""
            while more := connection.recv(2**16):
                received += more
        return received

    def figure(self, name: str, **labels: str) -> float:
        """A value of `/metrics`."""
        samples = [sample for family in text_string_to_metric_families(self.ask("GET", "/metrics").content)
                   for sample in family.samples if sample.name == name]  # fmt: skip
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def wait(self, timeout: float = 60) -> int:
        """Its exit code."""
        self._ended = self._ended or self.process.wait(timeout)
        return self._ended.code

    def end(self) -> None:
        self.process.signal(signal.SIGKILL)
        self.wait()


async def asked(
    app, method: str, path: str, body: bytes = b"", is_whole: bool = True, **headers: str
) -> tuple[int, dict[str, str], dict]:
    """Code, headers and JSON that an ASGI application answers; the client sends nothing after `body`."""
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
             "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
             "http_version": "1.1", "scheme": "http", "server": ("", 80), "client": ("", 1)}  # fmt: skip
    waiting, sent = [body], []

    async def receive():
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": not is_whole}
        return await asyncio.sleep(3600)

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    answered = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    content = b"".join(message["body"] for message in sent[1:])
    return sent[0]["status"], answered, json.loads(content) if content[:1] in (b"{", b"[") else {}


def guarded(token: str = "", **limits) -> tuple[services.Service, RequestMiddleware]:
    """A service with a model that computes nothing, and its application."""
    service = services.Service(Limits(**limits))
    model = SimpleNamespace(name="none", image_shape=(2, 2, 1), preparation=Preparation((2, 2, 1), "crop"), outputs={})
    model.task = SimpleNamespace(is_dense=False)
    service.models = {"none": model}
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv(VARIABLE, token)
        tokens = Tokens(None)
    return service, RequestMiddleware(build(service, bool(token)), service, tokens)

"""HTTP connections with limits on the size and the time of a request's head.

Uvicorn has no such limits, and answers malformed requests in plain text. `HttpToolsProtocol` hands itself to httptools
as its callbacks, so the only way in is a subclass. Everything that this project takes from uvicorn's undocumented part
is here: the class, its constructor's arguments, and `send_400_response`.
"""

from __future__ import annotations

import asyncio
import http
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cifar.serving.middleware import HEADERS

HEAD_BYTES = 2**16


class Protocol(HttpToolsProtocol):
    """A connection: a request's head is at most `HEAD_BYTES` long and comes within `timeout` seconds."""

    def __init__(self, *arguments: Any, timeout: float, **more: Any):
        super().__init__(*arguments, **more)
        self._timeout = timeout
        self.is_new = True
        """False from the first request on."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._connection = transport
        self._await_head()

    def connection_lost(self, error: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(error)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._deadline.cancel()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._deadline.cancel()
        self.is_new = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head += len(data)
        if not self._deadline.cancelled() and self._head > HEAD_BYTES and not self._connection.is_closing():
            self._refuse(431, f"the request's head has more than {HEAD_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _await_head(self) -> None:
        self._head = 0
        self._deadline = asyncio.get_running_loop().call_later(self._timeout, self._late)

    def _late(self) -> None:
        if self._head and not self._connection.is_closing():
            self._refuse(408, "timeout while receiving the request")
        self._connection.close()

    def _refuse(self, code: int, message: str) -> None:
        content = json.dumps({"error": message}).encode()
        headers = {**HEADERS, "content-type": "application/json", "content-length": len(content), "connection": "close"}
        head = [f"HTTP/1.1 {code} {http.HTTPStatus(code).phrase}", *(f"{name}: {headers[name]}" for name in headers)]
        self._connection.write("\r\n".join(head).encode() + b"\r\n\r\n" + content)
        self._connection.close()

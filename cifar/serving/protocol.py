"""HTTP connections with limits on the size and the time of all that is no body, and on unread answers.

Uvicorn has no such limits, and answers malformed requests in plain text. Its other parser, h11, has them for heads, but
takes 5 times the CPU for a request, and 26 times for a body in chunks of one byte. `HttpToolsProtocol` hands itself to
httptools as its callbacks, so the only way in is a subclass. All that this project takes from uvicorn's undocumented
part is here: the class, its constructor's arguments and attributes, and `send_400_response`.
"""

from __future__ import annotations

import asyncio
import http
import json
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cifar.serving.middleware import HEADERS

HEAD_BYTES = 2**16
"""Bytes of a message besides its body, and one for each byte of the body: the head, chunk sizes and trailers."""
PIPELINED = 16
"""Maximum number of requests of a connection that wait for the answer to an earlier one."""
PARSED_BYTES = 2**14
"""Bytes that are parsed at once, before the limit is checked again."""
READ_BYTES = 2**16
"""Bytes of an answer that a client has to read within the timeout, unless the rest is less."""


class Parser:
    """httptools' parser, for a server that ignores `Upgrade` (RFC 9110, 7.8): the request is parsed without it.

    By itself httptools stops at the head, and takes the request's body for the next request.
    """

    def __init__(self, protocol: Protocol):
        self._protocol = protocol
        self._parser = self._new()

    def __getattr__(self, name: str) -> Callable[[], Any]:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            if self._parser.get_method() == b"CONNECT":
                raise httptools.HttpParserError("no proxy") from None
            head, rest = self._head(), data[stop.args[0] :]
            self._parser = self._new()
            self.feed_data(head + rest)

    def _new(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self._protocol)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _head(self) -> bytes:
        """The head of the request, without the headers of the upgrade."""
        protocol, parser = self._protocol, self._parser
        lines = [b"%s %s HTTP/%s" % (parser.get_method(), protocol.url, parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in protocol.headers if header[0] not in (b"upgrade", b"http2-settings")]
        return b"\r\n".join([*lines, b"", b""])


class Protocol(HttpToolsProtocol):
    """A connection: a head comes within `timeout` seconds, and an answer is read within as many for each part."""

    def __init__(self, *arguments: Any, timeout: float, **more: Any):
        super().__init__(*arguments, **more)
        self.parser = Parser(self)  # type: ignore[assignment]
        self._timeout = timeout
        self.is_new = True
        """False from the first request on."""
        self._deadline: asyncio.TimerHandle | None = None
        """Of the head that is being received."""
        self._unread_deadline: asyncio.TimerHandle | None = None
        self._overhead, self._has_ended = 0, False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head(transport.close)

    def connection_lost(self, error: Exception | None) -> None:
        self._end_deadline()
        self.resume_writing()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        for first in range(0, len(data), PARSED_BYTES):
            part = data[first : first + PARSED_BYTES]
            self._has_ended = False
            super().data_received(part)
            if not self._has_ended:  # one part may have the end of a message and the beginning of the next
                self._overhead += len(part)
                if self._overhead > HEAD_BYTES:
                    self._refuse(431, f"the request has more than {HEAD_BYTES} bytes besides its body")
            if self.transport.is_closing():
                return

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED:
            raise httptools.HttpParserError("too many requests that wait for earlier ones")
        super().on_message_begin()
        self._await_head(lambda: self._refuse(408, "timeout while receiving the request"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._deadline:  # what comes later is a trailer
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._end_deadline()
        self.is_new = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead -= 2 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._overhead, self._has_ended = 0, True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def pause_writing(self) -> None:
        """Called when the client reads an answer more slowly than it is written."""
        super().pause_writing()
        self._await_reading(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread_deadline:
            self._unread_deadline.cancel()
            self._unread_deadline = None

    def _await_reading(self, unread: int) -> None:
        """Close the connection unless the client reads on."""

        def check() -> None:
            left = self.transport.get_write_buffer_size()
            if left > unread - READ_BYTES:
                self.transport.abort()
            else:
                self._await_reading(left)

        self._unread_deadline = asyncio.get_running_loop().call_later(self._timeout, check)

    def _await_head(self, give_up: Callable[[], None]) -> None:
        self._end_deadline()
        self._deadline = asyncio.get_running_loop().call_later(self._timeout, give_up)

    def _end_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, code: int, message: str) -> None:
        """Answer with an error and close the connection; earlier requests on it are answered, and nothing else."""
        if self.transport.is_closing():
            return
        is_answering = self.cycle and not self.cycle.response_complete
        if is_answering and (self._deadline or self.cycle.response_started):
            self.cycle.keep_alive = False
            return
        content = json.dumps({"error": message}).encode()
        headers = {**HEADERS, "content-type": "application/json", "content-length": len(content), "connection": "close"}
        head = [f"HTTP/1.1 {code} {http.HTTPStatus(code).phrase}", *(f"{name}: {headers[name]}" for name in headers)]
        self.transport.write("\r\n".join(head).encode() + b"\r\n\r\n" + content)
        self.transport.close()

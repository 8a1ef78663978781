"""Middleware for every request: token, size and time limits, headers, metrics, access log."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
import zlib
from typing import Any

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cifar.serving import openapi, page
from cifar.serving.access_log import AccessLog
from cifar.serving.service import Service
from cifar.serving.tokens import Tokens

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
OPEN = openapi.OPEN.union(page.FILES)
"""Paths that need no token."""
DRAINED_BYTES, DRAINED_SECONDS = 2**26, 2.0
"""Limits of the rest of a too large body that is read and dropped, so that the client reads the answer."""
PART = 2**16
"""Bytes of an answer that are sent at once: only what the client has read is followed by more."""
UNPACKED = 2**20
"""Bytes that are unpacked at once: about a millisecond."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestMiddleware:
    """An ASGI application with limits."""

    def __init__(self, app: ASGIApp, service: Service, tokens: Tokens, log: AccessLog | None = None):
        self._app, self._service, self._tokens, self._log = app, service, tokens, log
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        metrics, began = self._service.metrics, time.perf_counter()
        headers = Headers(scope=scope)
        body = Body(receive, headers, self._service)
        answer = Answer(send, self._service, [*self._headers, (b"x-request-id", _request_id(headers).encode())])
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        metrics.in_flight.inc()
        try:
            if scope["path"] not in openapi.HEALTH:
                await self._service.turns.wait()
            self._check_token(scope, headers)
            await body.check_size()
            await self._app(inner, body.receive, answer.send)
        except HTTPException as error:
            await JSONResponse({"error": error.detail}, error.status_code, error.headers)(inner, receive, answer.send)
        except ClientDisconnect:
            pass
        finally:
            body.memory.used -= body.size
            answer.memory.used -= answer.held
            metrics.in_flight.dec()
            route, seconds = inner.get("route"), time.perf_counter() - began
            metrics.request(getattr(route, "path", "none"), answer.code, seconds)
            if self._log:
                self._log.add(scope, answer.id, answer.code, seconds, body.size, answer.size)

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        if not self._tokens or scope["path"] in OPEN:
            return
        authorization = headers.get("authorization")
        if authorization is None:
            raise HTTPException(401, "a bearer token is required", {"WWW-Authenticate": "Bearer"})
        if not self._tokens.accept(authorization):
            reason = 'Bearer error="invalid_token"'
            raise HTTPException(401, "the bearer token is not valid", {"WWW-Authenticate": reason})


class Body:
    """The body of a request, with limits of size and time; gzip is unpacked within them."""

    def __init__(self, receive: Receive, headers: Headers, service: Service):
        self._receive, self._headers, self._limits = receive, headers, service.limits
        self._due = asyncio.get_running_loop().time() + service.limits.timeout
        self._is_read = False
        self._unpacked = zlib.decompressobj(31) if headers.get("content-encoding") == "gzip" else None
        self.memory, self._turns = service.memory, service.turns
        self.size = 0
        """Bytes so far."""

    async def check_size(self) -> None:
        """Raise `HTTPException` for a declared size beyond the limit, or another coding than gzip."""
        coding = self._headers.get("content-encoding", "identity")
        if coding not in ("identity", "gzip"):
            raise HTTPException(415, f"content-encoding {coding[:100]}: accepted: gzip")
        declared = int(self._headers.get("content-length", 0))
        if declared > self._limits.max_body:
            if "expect" not in self._headers:
                await self._drain()
            raise HTTPException(413, f"the body has {declared} bytes; accepted: {self._limits.max_body}")

    async def receive(self) -> Message:
        """Receive the next part; raises `HTTPException` beyond the limits."""
        if self._is_read:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._due):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "timeout while receiving the body", {"Connection": "close"}) from None
        self._is_read = not message.get("more_body", False)
        if self._unpacked and message["type"] == "http.request":
            return {**message, "body": await self._unpack(self._unpacked, message.get("body", b""))}
        await self._count(len(message.get("body", b"")))
        return message

    async def _unpack(self, stream: Any, part: bytes) -> bytes:
        parts = []
        try:
            while part:
                await self._turns.wait()
                parts.append(stream.decompress(part, UNPACKED))
                await self._count(len(parts[-1]))
                part = stream.unconsumed_tail
        except zlib.error as error:
            raise HTTPException(400, f"the body is not gzip: {error}") from None
        if self._is_read and not stream.eof and not part:
            raise HTTPException(400, "the body is gzip that does not end")
        return b"".join(parts)

    async def _count(self, size: int) -> None:
        if self.size + size > self._limits.max_body:
            await self._drain()
            raise HTTPException(413, f"the body has more than {self._limits.max_body} bytes")
        self.memory.take(size, self.size + size)
        self.size += size

    async def _drain(self) -> None:
        """Read and drop the rest, within limits."""
        dropped = 0
        try:
            async with asyncio.timeout(DRAINED_SECONDS):
                while not self._is_read and dropped < DRAINED_BYTES:
                    message = await self._receive()
                    self._is_read = not message.get("more_body", False)
                    dropped += len(message.get("body", b""))
        except TimeoutError:
            pass


class Answer:
    """The answer to a request, sent as fast as the client reads it."""

    def __init__(self, send: Send, service: Service, headers: list[tuple[bytes, bytes]]):
        self._send, self._service, self._headers = send, service, headers
        self.id = headers[-1][1].decode()
        self.memory = service.memory
        self.held = 0
        """Bytes that are counted in the memory of all requests."""
        self.code, self.size = 499, 0

    async def send(self, message: Message) -> None:
        """Send a message; raises `HTTPException` when too many answers wait for their readers."""
        if message["type"] == "http.response.start":
            await self._start(message)
            return
        body = message.get("body", b"")
        self.size += len(body)
        for first in range(0, len(body) - PART, PART):
            await self._send({**message, "body": body[first : first + PART], "more_body": True})
        last = max(0, -(-len(body) // PART) - 1) * PART
        await self._send({**message, "body": body[last:]})

    async def _start(self, message: Message) -> None:
        length = int(Headers(raw=message["headers"]).get("content-length", 0))
        if length > PART:
            self.memory.take(length, length)
            self.held = length
        self.code = message["status"]
        message["headers"] = [*message["headers"], *self._headers]
        if self._service.is_draining:
            message["headers"].append((b"connection", b"close"))
        await self._send(message)


def _request_id(headers: Headers) -> str:
    """Return the id that the client or a proxy gave the request, or a new one."""
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex

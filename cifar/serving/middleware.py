"""Middleware for every request: token, size and time limits, headers, metrics."""

from __future__ import annotations

import asyncio
import hmac
import time

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cifar.serving import page
from cifar.serving.service import Service

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
OPEN = ("/livez", "/readyz", *page.FILES)
"""Paths that need no token."""
DRAINED_BYTES, DRAINED_SECONDS = 2**26, 2.0
"""Limits of the rest of a too large body that is read and dropped, so that the client reads the answer."""


class RequestMiddleware:
    """An ASGI application with limits."""

    def __init__(self, app: ASGIApp, service: Service, token: str | None):
        self._app, self._service, self._token, self.limits = app, service, token, service.limits
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        self._bodies = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        metrics, began, code = self._service.metrics, time.perf_counter(), 499

        async def answer(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers]
                if self._service.is_draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        body = Body(receive, self.limits.max_body, self.limits.timeout)
        metrics.in_flight.inc()
        reserved = 0
        try:
            headers = Headers(scope=scope)
            self._check_token(scope, headers)
            reserved = await self._reserve(headers, body)
            await self._app(scope, body.receive, answer)
        except HTTPException as error:
            await JSONResponse({"error": error.detail}, error.status_code, error.headers)(scope, receive, answer)
        except ClientDisconnect:
            pass
        finally:
            self._bodies -= reserved
            metrics.in_flight.dec()
            route = scope.get("route")
            metrics.request(getattr(route, "path", "none"), code, time.perf_counter() - began)

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        if self._token is None or scope["path"] in OPEN:
            return
        authorization = headers.get("authorization", "")
        if not hmac.compare_digest(authorization.encode(), f"Bearer {self._token}".encode()):
            raise HTTPException(401, "a bearer token is required", {"WWW-Authenticate": "Bearer"})

    async def _reserve(self, headers: Headers, body: Body) -> int:
        """Reserve the bytes that a body may have, among those of all requests in flight; raises `HTTPException`."""
        limits = self.limits
        declared = limits.max_body if "transfer-encoding" in headers else int(headers.get("content-length", 0))
        if declared > limits.max_body:
            if "expect" not in headers:
                await body.drain()
            raise HTTPException(413, f"the body has {declared} bytes; accepted: {limits.max_body}")
        if self._bodies + declared > limits.bodies:
            raise HTTPException(503, "too many requests", {"Retry-After": "1"})
        self._bodies += declared
        return declared


class Body:
    """The body of a request, with limits of size and time."""

    def __init__(self, receive: Receive, limit: int, seconds: float):
        self._receive, self._limit, self._left = receive, limit, limit
        self._due = asyncio.get_running_loop().time() + seconds
        self._is_read = False

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
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            await self.drain()
            raise HTTPException(413, f"the body has more than {self._limit} bytes")
        return message

    async def drain(self) -> None:
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

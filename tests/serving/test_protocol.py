"""Connections: what is parsed as a request, and what is bounded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import uvicorn
from uvicorn.server import ServerState

from cifar.serving.protocol import HEAD_BYTES, PIPELINED, Protocol

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
H2C = (
    HEAD
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\nContent-Length: 20\r\n\r\n"
)
Exchange = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def exchange(with_service: Exchange, answer: bytes = b"", timeout: float = 0.3, seconds: float = 0) -> list[bytes]:
    """The requests that reach an application, each as its path and body, while a client does `with_service`."""
    requests = []

    async def app(scope, receive, send):
        body, message = b"", {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        if message["type"] == "http.disconnect":
            return
        requests.append(scope["path"].encode() + b" " + body)
        await asyncio.sleep(seconds)
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def main() -> None:
        config = uvicorn.Config(app, ws="none", lifespan="off", log_level="critical", access_log=False)
        server = await asyncio.get_running_loop().create_server(
            lambda: Protocol(config, ServerState(), {}, timeout=timeout), "127.0.0.1", 0
        )
        async with server, asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                await with_service(reader, writer)
            finally:
                writer.close()

    asyncio.run(main())
    return requests


def test_upgrade_is_ignored_and_the_body_is_no_request():
    async def client(reader, writer):
        writer.write(H2C)
        await asyncio.sleep(0.05)
        writer.write(b"GET /x HTTP/1.1\r\n\r\n\n")  # 20 bytes of body
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(H2C + b"x" * 20 + HEAD + b"Content-Length: 2\r\n\r\nyz")
        for _ in range(2):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")

    found = exchange(client)
    assert found == [b"/predict GET /x HTTP/1.1\r\n\r\n\n", b"/predict " + b"x" * 20, b"/predict yz"]


def test_all_besides_the_body_is_bounded():
    for sent in (
        b"5\r\nhello\r\n0\r\n" + b"trailer: x\r\n" * HEAD_BYTES,
        b"5;" + b"x" * 2 * HEAD_BYTES,
        b"1\r\nx\r\n" * HEAD_BYTES,
    ):

        async def client(reader, writer, sent=sent):
            writer.write(CHUNKED + sent)
            with contextlib.suppress(ConnectionResetError):  # which may overtake the answer
                assert (await reader.read()).startswith(b"HTTP/1.1 431")

        assert exchange(client) == []


def test_chunks_of_a_size_that_clients_send_are_taken():
    async def client(reader, writer):
        writer.write(CHUNKED + b"10\r\n0123456789abcdef\r\n" * HEAD_BYTES + b"0\r\nauthorization: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")

    (request,) = exchange(client, timeout=10)
    assert len(request) == len(b"/predict ") + 16 * HEAD_BYTES


def test_answer_before_a_request_that_does_not_end():
    async def client(reader, writer):
        writer.write(HEAD + b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000 + b"P")
        received = await reader.read()
        assert received.startswith(b"HTTP/1.1 200") and received.endswith(b"answer")

    exchange(client, b"answer", seconds=0.6)


def test_pipelined_requests_are_bounded():
    async def client(reader, writer, count):
        writer.write((HEAD + b"Content-Length: 0\r\n\r\n") * count)
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            async with asyncio.timeout(1):
                await reader.read()

    for count, least, most in ((PIPELINED, PIPELINED, PIPELINED), (10 * PIPELINED, 1, PIPELINED + 1)):
        found = exchange(lambda *streams, count=count: client(*streams, count), timeout=10, seconds=0.01)
        assert least <= len(found) <= most


def test_answer_that_nobody_reads_is_dropped():
    async def client(reader, writer):
        writer.write(HEAD + b"Content-Length: 0\r\n\r\n")
        await asyncio.sleep(1.5)
        with contextlib.suppress(ConnectionResetError):
            assert len(await reader.read()) < 2**26

    exchange(client, b"x" * 2**26)

"""Clients that send the next request when the last is answered; prints rate, latencies and errors as JSON.

    python benchmarks/peers/load.py '{"port": 8501, "path": "/predict", "shape": [32, 32, 3], "clients": 64,
                                      "requests": 10000, "seconds": 60}'

Bare protocols on uvloop and answers that are searched, not parsed: it must not be what is measured.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import sys
import time

import numpy as np
import uvloop
from PIL import Image

DIFFERENT = 64
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class Load:
    """State shared by all clients."""

    def __init__(self, shape: list[int], path: str, requests: int, is_png: bool):
        images = np.random.default_rng(0).integers(0, 256, (DIFFERENT, 1, *shape))
        # `mlflow models serve` calls `inputs` what TensorFlow Serving calls `instances` where it is in rows.
        field = "inputs" if path == "/invocations" else "instances"
        values = [encoded(image[0]) if is_png else image[0].tolist() for image in images.astype(np.uint8)]
        bodies = [json.dumps({field: [value]}).encode() for value in values]
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
        self._contents = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
        self._left = requests
        self.seconds: list[float] = []
        self.errors = 0
        self.done = asyncio.Event()

    def next(self) -> bytes | None:
        """Return the next request, or None after the last."""
        if self._left <= 0:
            self.done.set()
            return None
        self._left -= 1
        return self._contents[self._left % DIFFERENT]

    def stop(self) -> None:
        self._left = 0
        self.done.set()


def encoded(image: np.ndarray) -> dict[str, str]:
    """A PNG file in base64."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return {"b64": base64.b64encode(file.getvalue()).decode()}


class Client(asyncio.Protocol):
    """A persistent connection, reopened if the server closes it."""

    def __init__(self, load: Load, port: int):
        self._load, self._port, self._answer, self._waits = load, port, b"", False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end:
            return
        length = LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return
        self._waits = False
        if head.startswith(b"HTTP/1.1 200") and (b'"predictions"' in body or b'"probabilities"' in body):
            self._load.seconds.append(time.perf_counter() - self._began)
        else:
            self._load.errors += 1
        if b"connection: close" in head.lower():
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.errors += self._waits and not self._load.done.is_set()
        if not self._load.done.is_set():
            loop = asyncio.get_running_loop()
            self._again = loop.create_task(loop.create_connection(lambda: Client(self._load, self._port), "127.0.0.1",
                                                                  self._port))  # fmt: skip

    def _send(self) -> None:
        request = self._load.next()
        if request is not None:
            self._answer, self._waits, self._began = b"", True, time.perf_counter()
            self._transport.write(request)


async def main(given: dict) -> None:
    load, loop = (
        Load(given["shape"], given["path"], given["requests"], given.get("png", False)),
        asyncio.get_running_loop(),
    )
    began = time.perf_counter()
    loop.call_later(given["seconds"], load.stop)
    for _ in range(given["clients"]):
        await loop.create_connection(lambda: Client(load, given["port"]), "127.0.0.1", given["port"])
    await load.done.wait()
    taken = time.perf_counter() - began
    p50, p90, p99 = np.percentile(np.array(load.seconds or [np.nan]) * 1000, (50, 90, 99))
    count = len(load.seconds)
    print(json.dumps({"requests": count + load.errors, "errors": load.errors, "rate": count / taken, "p50": p50,
                      "p90": p90, "p99": p99}))  # fmt: skip


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))

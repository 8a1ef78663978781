"""The access log: a line of JSON for each request, without tokens, queries and images."""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from typing import Any

from starlette.types import Scope

WAITING = 2**14
"""Lines that wait for a slow reader of the log; more are dropped, and counted in the next line."""


class AccessLog:
    """Writes to stdout in a thread of its own, so that no request waits for the reader of the log."""

    def __init__(self) -> None:
        self._lines: queue.Queue[str] = queue.Queue(WAITING)
        self._dropped = 0
        threading.Thread(target=self._write, name="access log", daemon=True).start()

    def add(self, scope: Scope, request_id: str, code: int, seconds: float, received: int, sent: int) -> None:
        """Log a request; code 499: the client disconnected."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "id": request_id,
            "client": (scope.get("client") or ("",))[0],
            "method": scope["method"],
            "path": scope["path"],
            "status": code,
            "seconds": round(seconds, 6),
            "bytes_received": received,
            "bytes_sent": sent,
            **({"dropped": self._dropped} if self._dropped else {}),
        }
        try:
            self._lines.put_nowait(json.dumps(line))
            self._dropped = 0
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Write the waiting lines, for half a second at most."""
        end = time.monotonic() + 0.5
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)

    def _write(self) -> None:
        while True:
            lines = [self._lines.get()]
            while not self._lines.empty():
                lines.append(self._lines.get_nowait())
            try:
                print("\n".join(lines), flush=True)
            except OSError:  # nobody reads it any more
                sys.stdout = None
            for _ in lines:
                self._lines.task_done()

"""Services under load: ours with and without batching, `mlflow models serve` of the same run, and scripts of others.

    python benchmarks/serving.py RUN [--tracking-uri URI] [--requests 10000] [--seconds 60] [--only ours …]
                                     [--peers PYTHON]

The load generator is a separate process: 1, 8 and 64 clients, each with one persistent connection, send the next
request when the previous one is answered. All send JSON: one image as nested lists, or with `--png` as a PNG file in
base64. A measurement covers `--requests` requests, or those answered within `--seconds`. CPU is the user and system
time of the server's processes per request, which does not depend on other load on the machine. `--peers` names an
interpreter that has LitServe beside the packages of this project.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CLIENTS = (1, 8, 64)
PREDICT = "/v1/models/model:predict"


def servers(run: str, uri: str, port: int, peers: str) -> dict[str, tuple[list[str], str, str]]:
    """Return for each contender the command, the path of requests, and the path that answers when it is ready."""

    def script(name: str, python: str = sys.executable) -> list[str]:
        return [python, str(ROOT / "benchmarks" / "peers" / f"{name}_script.py"), f"runs:/{run}/model", str(port)]

    serve = [sys.executable, "-m", "cifar", "--tracking-uri", uri, "serve", f"model={run}", "--port", str(port)]
    mlflow = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"runs:/{run}/model",
              "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
    return {
        "ours": (serve, PREDICT, "/readyz"),
        "ours, --max-batch 1": ([*serve, "--max-batch", "1"], PREDICT, "/readyz"),
        "mlflow models serve": (mlflow, "/invocations", "/ping"),
        "LitServe": (script("litserve", peers), "/predict", "/health"),
        "Flask and model.predict": (script("flask"), "/predict", "/ping"),
    }


@contextlib.contextmanager
def started(command: list[str], url: str, uri: str) -> Iterator[int]:
    """Run a server that answers at `url` inside the `with`; yields its process group."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where MLflow finds uvicorn
    variables = {**os.environ, "MLFLOW_TRACKING_URI": uri, "CUDA_VISIBLE_DEVICES": "-1", "PATH": path,
                 "PYTHONPATH": str(ROOT)}  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    try:
        wait_for(lambda: answers(url), process)
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], process: subprocess.Popen, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"{' '.join(process.args)} does not answer")
        time.sleep(0.2)


def cpu_seconds(group: int) -> float:
    """Return the CPU time of the processes of a group."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # of a process that has ended
            fields = path.read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12]) if int(fields[2]) == group else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(group: int, given: dict[str, Any], requests: int) -> dict[str, float]:
    """Return the load generator's report after a warm-up, and the CPU milliseconds per request."""
    generator = ROOT / "benchmarks" / "peers" / "load.py"
    for count in (4 * given["clients"], requests):
        before = cpu_seconds(group)
        done = subprocess.run([sys.executable, str(generator), json.dumps({**given, "requests": count})],
                              stdout=subprocess.PIPE, text=True, check=True)  # fmt: skip
    found = json.loads(done.stdout)
    return {**found, "cpu": 1000 * (cpu_seconds(group) - before) / max(1, found["requests"])}


def shape_of(run: str, uri: str) -> list[int]:
    import mlflow

    mlflow.set_tracking_uri(uri)
    return json.loads(mlflow.artifacts.load_text(f"runs:/{run}/dataset.json"))["image_shape"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="the whole id")
    parser.add_argument("--tracking-uri", default=f"sqlite:///{ROOT / 'mlflow.db'}")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--png", action="store_true")
    parser.add_argument("--only", nargs="+", default=[], help="contenders whose names begin so")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    arguments = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shape = shape_of(arguments.run, arguments.tracking_uri)
    columns = ("clients", "requests", "errors", "per second", "p50 ms", "p90 ms", "p99 ms", "p99/p50", "CPU ms")
    print(f"{'':24}", *(f"{column:>10}" for column in columns), sep="")
    for name, (command, path, ready) in servers(arguments.run, arguments.tracking_uri, port, arguments.peers).items():
        if arguments.only and not name.startswith(tuple(arguments.only)):
            continue
        with started(command, f"http://127.0.0.1:{port}{ready}", arguments.tracking_uri) as group:
            for clients in arguments.clients:
                given = {"port": port, "path": path, "shape": shape, "clients": clients, "seconds": arguments.seconds,
                         "png": arguments.png}  # fmt: skip
                got = measure(group, given, arguments.requests)
                figures = (got["rate"], got["p50"], got["p90"], got["p99"], got["p99"] / got["p50"], got["cpu"])
                print(f"{name:24}{clients:10}{got['requests']:10}{got['errors']:10}",
                      *(f"{figure:10.2f}" for figure in figures), sep="", flush=True)  # fmt: skip
    print(f"load average in the end: {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")


if __name__ == "__main__":
    main()

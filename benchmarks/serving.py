"""A service under load: ours with and without batching, `mlflow models serve` of the same run, a plain Flask script.

    python benchmarks/serving.py RUN [--tracking-uri URI] [--requests 10000] [--seconds 60] [--only ours …]

Each server is alone on the machine with the generator of load, which is a process of its own: 1, 8 and 64 clients, each
with one connection that it keeps, send the next request when the last is answered. All send the same JSON: one image
as nested lists. A measurement is of so many requests, or as many as were answered within the seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLIENTS = (1, 8, 64)
PREDICT = "/v1/models/model:predict"


def servers(run: str, uri: str, port: int) -> dict[str, tuple[list[str], str, str]]:
    """Of each contender the command, the path to send to, and the path that answers when it is ready."""
    serve = ["-m", "cifar", "--tracking-uri", uri, "serve", f"model={run}", "--port", str(port)]
    mlflow = ["-m", "mlflow", "models", "serve", "--model-uri", f"runs:/{run}/model", "--env-manager", "local",
              "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
    flask = [str(ROOT / "benchmarks" / "peers" / "flask_script.py"), f"runs:/{run}/model", str(port)]
    return {
        "ours": (serve, PREDICT, "/readyz"),
        "ours, --max-batch 1": ([*serve, "--max-batch", "1"], PREDICT, "/readyz"),
        "mlflow models serve": (mlflow, "/invocations", "/ping"),
        "Flask and model.predict": (flask, "/predict", "/ping"),
    }


@contextmanager
def started(command: list[str], url: str, uri: str) -> Iterator[None]:
    """Inside the `with`, the server of this command answers at `url`."""
    variables = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=variables, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    try:
        wait_for(lambda: answers(url), process)
        yield
    finally:
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


def measure(port: int, path: str, shape: list[int], clients: int, requests: int, seconds: float) -> dict[str, float]:
    """What the generator of load tells after a short warm-up."""
    generator = ROOT / "benchmarks" / "peers" / "load.py"
    given = {"port": port, "path": path, "shape": shape, "clients": clients, "seconds": seconds}
    for count in (4 * clients, requests):
        done = subprocess.run([sys.executable, str(generator), json.dumps({**given, "requests": count})],
                              stdout=subprocess.PIPE, text=True, check=True)  # fmt: skip
    return json.loads(done.stdout)


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
    parser.add_argument("--only", nargs="+", default=[], help="contenders whose names begin so")
    arguments = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shape = shape_of(arguments.run, arguments.tracking_uri)
    print(f"{'':26}{'clients':>8}{'requests':>10}{'errors':>8}{'per second':>12}{'p50 ms':>9}{'p90 ms':>9}{'p99 ms':>9}"
          f"{'p99/p50':>9}")  # fmt: skip
    for name, (command, path, ready) in servers(arguments.run, arguments.tracking_uri, port).items():
        if arguments.only and not name.startswith(tuple(arguments.only)):
            continue
        with started(command, f"http://127.0.0.1:{port}{ready}", arguments.tracking_uri):
            for clients in CLIENTS:
                got = measure(port, path, shape, clients, arguments.requests, arguments.seconds)
                print(f"{name:26}{clients:8}{got['requests']:10}{got['errors']:8}{got['rate']:12.1f}{got['p50']:9.1f}"
                      f"{got['p90']:9.1f}{got['p99']:9.1f}{got['p99'] / got['p50']:9.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

"""How a service changes its models and how it ends, under load: no request that was sent is left without its answer."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.entities import Metric, RunTag

from cifar.runtime.errors import InputError
from cifar.runtime.paths import ROOT
from cifar.serving.limits import Limits
from cifar.serving.process import Models
from cifar.serving.service import Service as Serving
from cifar.serving.sources import named
from helpers.processes import run_python, slowdown, wait_for
from helpers.serving import Service

IMAGE = np.zeros((1, 8, 8, 1), int).tolist()


def copied(uri: str, run_id: str, accuracy: float, weights: bytes | None = None) -> str:
    """The id of a finished run like another, but for its accuracy, and for its weights where they are given."""
    client = mlflow.MlflowClient(uri)
    source = client.get_run(run_id)
    run = client.create_run(source.info.experiment_id, run_name="better").info.run_id
    for name in ("config.yaml", "dataset.json", "model.weights.h5"):
        path = Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=name, tracking_uri=uri))
        if weights is not None and name.endswith(".h5"):
            path.write_bytes(weights)
        client.log_artifact(run, str(path))
    tags = [RunTag(name, value) for name, value in source.data.tags.items() if not name.startswith("mlflow.")]
    client.log_batch(run, [Metric("test/accuracy", accuracy, int(time.time() * 1000), 0)], tags=tags)
    client.set_terminated(run)
    return run


@pytest.fixture
def store(quickstart, tmp_path) -> str:
    """The URI of a copy of the store of the quickstart, in which runs can be added."""
    source = Path(quickstart.uri.removeprefix("sqlite:///")).parent
    shutil.copytree(source, tmp_path / "store")
    return f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"


class Client(threading.Thread):
    """Sends one request after the other, on a connection that it keeps for as long as the service does."""

    def __init__(self, port: int):
        super().__init__(daemon=True)
        body = json.dumps({"instances": IMAGE}).encode()
        self._request = (f"POST /v1/models/digits:predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                         f"Content-Length: {len(body)}\r\n\r\n").encode() + body  # fmt: skip
        self._port, self._left = port, threading.Event()
        self.answered, self.lost, self.other = 0, [], []
        self.start()

    def run(self) -> None:
        while not self._left.is_set():
            try:
                connection = socket.create_connection(("127.0.0.1", self._port), timeout=30)
            except ConnectionError:
                return  # the service has ended, and nothing was sent
            with connection:
                while not self._left.is_set() and self._ask(connection):
                    pass

    def leave(self) -> None:
        self._left.set()
        self.join(60)

    def _ask(self, connection: socket.socket) -> bool:
        """Whether the connection stays open after an answer."""
        try:
            connection.sendall(self._request)
            answer = self._read(connection)
        except OSError as error:
            self.lost.append(error)
            return False
        self.answered += 1
        if not answer.startswith(b"HTTP/1.1 200"):
            self.other.append(answer)
        return b"connection: close" not in answer

    def _read(self, connection: socket.socket) -> bytes:
        answer = b""
        while True:
            more = connection.recv(2**16)
            if not more:
                raise ConnectionError(f"closed after {answer!r}")
            answer += more
            head, end, body = answer.partition(b"\r\n\r\n")
            if end and len(body) == int(head.partition(b"content-length: ")[2].split()[0]):
                return answer


@pytest.mark.slow
def test_best_run_is_found_again_and_the_end_waits_for_all(store, quickstart):
    service = Service(store, "--best", "digits", "test/accuracy")
    clients = [Client(service.port) for _ in range(16)]

    def run() -> str:
        return service.ask("GET", "/v1/models").content["models"][0]["run"]

    try:
        assert run() == quickstart.id
        better = copied(store, quickstart.id, 1.0)
        broken = copied(store, quickstart.id, 1.1, b"other weights")
        service.process.signal(signal.SIGHUP)
        wait_for(lambda: "warning: reload failed: run " in service.output())
        assert f"run {broken}: the SHA-256 of its model.weights.h5 is" in service.output()
        assert run() == quickstart.id
        mlflow.MlflowClient(store).delete_run(broken)
        service.process.signal(signal.SIGHUP)
        wait_for(lambda: run() == better)
        answered = sum(client.answered for client in clients)
        wait_for(lambda: sum(client.answered for client in clients) > answered + 100)

        began = time.monotonic()
        service.process.signal(signal.SIGTERM)
        wait_for(lambda: service.ask("GET", "/readyz").code == 503, 5)
        assert service.wait(60) == 0
        assert time.monotonic() - began < 10 * slowdown()
    finally:
        for client in clients:
            client.leave()
        service.end()
    assert [client.lost for client in clients] == [[]] * 16
    assert [client.other for client in clients] == [[]] * 16
    assert min(client.answered for client in clients) > 5
    assert "Traceback" not in service.output()


def test_weights_are_not_read_before_their_hash_is_checked(store, quickstart, monkeypatch):
    other = copied(store, quickstart.id, 0.5, b"other weights")
    monkeypatch.setattr("keras.Model.load_weights", lambda *_: pytest.fail("read"))
    with pytest.raises(InputError, match=r"the SHA-256 of its model\.weights\.h5 is"):
        Models([named(other)], store, Serving(Limits())).load()


def test_first_models_that_cannot_be_loaded_end_it(store, quickstart):
    other = copied(store, quickstart.id, 0.5, b"other weights")
    service = Service(store, other, is_loaded=False)
    assert service.wait() == 2
    assert re.fullmatch(rf"error: run {other}: the SHA-256 of its model\.weights\.h5 is .*\n", service.output())


SIGNAL_AT_IMPORT = """
import os, runpy, signal, sys

class Signal:
    def find_spec(self, name, *_):
        if name == "cifar.analysis":
            os.kill(os.getpid(), signal.SIGHUP)

sys.meta_path.insert(0, Signal())
sys.argv = ["cifar", "serve", "nothing", "--tracking-uri", "sqlite:///none.db"]
runpy.run_module("cifar", run_name="__main__")
"""


def test_signal_while_it_imports(tmp_path):
    """SIGHUP in the first moments ends nothing."""
    done = run_python("-c", SIGNAL_AT_IMPORT, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.code == 2
    assert done.stderr.startswith("error: ")


@pytest.mark.slow
def test_signal_while_it_loads(store, quickstart):
    """`livez` answers before the models are there, and SIGHUP neither ends it nor is lost."""
    service = Service(store, f"digits={quickstart.id}", is_loaded=False)
    try:
        service.process.signal(signal.SIGHUP)
        early = service.predict({"instances": IMAGE})
        assert early.code == 200 or early.content == {"error": "the models are loading"}
        wait_for(lambda: service.output().count(f"digits is run {quickstart.id}") == 2)
        assert service.ask("GET", "/readyz").code == 200
        service.process.signal(signal.SIGTERM)
        assert service.wait() == 0
    finally:
        service.end()

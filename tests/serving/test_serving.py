"""`python -m cifar serve` as a process: what it answers, what it refuses, and that it loses no request."""

from __future__ import annotations

import base64
import http.client
import io
import json
import random
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cifar import tracking
from cifar.images.io import encode_png
from cifar.serving import schemas
from cifar.training import trainer
from helpers.pictures import bomb
from helpers.processes import wait_for
from helpers.serving import BODY, Service


@pytest.fixture(scope="module")
def service(quickstart) -> Iterator[Service]:
    service = Service(
        quickstart.uri, f"digits={quickstart.id[:8]}", f"other={quickstart.id}",
        "--timeout", "1", "--max-body", str(BODY), "--max-pixels", "100000", "--max-batch", "16",
    )  # fmt: skip
    yield service
    service.end()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def expected(quickstart, images) -> np.ndarray:
    """What the model says by itself."""
    _, model = trainer.restore(*tracking.stored_run(quickstart.uri, quickstart.id))
    return model.predict(images, verbose=0)


def encoded(image: np.ndarray) -> dict[str, str]:
    return {"b64": base64.b64encode(encode_png(image)).decode()}


def close(found: list, expected: np.ndarray) -> None:
    """Batches of another size may differ in the last bits."""
    np.testing.assert_allclose(found, expected, atol=1e-6)


class TestAnswers:
    def test_upload(self, service, images, expected, quickstart):
        form = (b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n'
                b"\r\n" + encode_png(images[0]) + b"\r\n--x--\r\n")  # fmt: skip
        for answer in (service.upload(form, "multipart/form-data; boundary=x"), service.upload(encode_png(images[0]))):
            assert answer.code == 200
            assert (answer.content["model"], answer.content["run"]) == ("digits", quickstart.id)
            best = np.argsort(-expected[0])[:5]
            assert [entry["class"] for entry in answer.content["answer"]] == [str(k) for k in best]
            close([entry["probability"] for entry in answer.content["answer"]], expected[0][best])

    def test_upload_as_jpeg_of_another_size_for_a_named_model(self, service):
        file = io.BytesIO()
        Image.new("RGB", (300, 200), "white").save(file, "JPEG")
        answer = service.ask("POST", "/predict?model=other", file.getvalue(), content_type="image/jpeg")
        assert (answer.code, answer.content["model"]) == (200, "other")

    def test_large_image_is_decoded_elsewhere(self, service):
        assert service.upload(encode_png(np.zeros((300, 300, 1), np.uint8))).code == 200

    def test_rows_and_columns(self, service, images, expected):
        rows = service.predict({"instances": images.tolist()}).content["predictions"]
        close(rows, expected)
        close(service.predict({"inputs": images.tolist()}).content["outputs"], expected)

    @pytest.mark.parametrize("named", [False, True])
    @pytest.mark.parametrize("form", ["instances", "inputs"])
    def test_files_and_names(self, service, images, expected, form, named):
        for signature, name, values in (
            ("serving_default", "image", images[:3].tolist()),
            ("serving_bytes", "image_bytes", [encoded(image) for image in images[:3]]),
        ):
            if named:
                values = {name: values} if form == "inputs" else [{name: value} for value in values]
            answer = service.predict({"signature_name": signature, form: values}).content
            close(answer["outputs" if form == "inputs" else "predictions"], expected[:3])

    def test_batched_as_alone(self, service, images, expected):
        alone = [service.predict({"instances": [image.tolist()]}) for image in images]
        before = service.figure("cifar_batch_images_count", model="digits")
        with ThreadPoolExecutor(16) as clients:
            together = list(clients.map(lambda image: service.predict({"instances": [image.tolist()]}),
                                        np.concatenate([images] * 8)))  # fmt: skip
        batches = service.figure("cifar_batch_images_count", model="digits") - before
        assert batches < 0.9 * len(together)
        for answers, probabilities in ((alone, expected), (together, np.concatenate([expected] * 8))):
            close([answer.content["predictions"][0] for answer in answers], probabilities)

    def test_models(self, service, quickstart):
        digits, other = service.ask("GET", "/v1/models").content["models"]
        assert (digits["name"], other["name"]) == ("digits", "other")
        assert digits["class_names"] == list("0123456789")
        assert (digits["image_shape"], digits["run"], digits["experiment"]) == ([8, 8, 1], quickstart.id, "digits")
        assert digits["metrics"]["test/accuracy"] > 0

    def test_metrics(self, service, quickstart):
        assert service.figure("cifar_model_info", model="digits", run=quickstart.id) == 1
        assert service.figure("cifar_request_seconds_count", route="/v1/models/{name}:predict") > 0
        assert service.figure("cifar_queue_images", model="other") == 0
        assert service.figure("process_resident_memory_bytes") > 0

    def test_description(self, service):
        described = service.ask("GET", "/openapi.json").content
        assert described["paths"].keys() == {
            "/livez", "/readyz", "/metrics", "/predict", "/explain", "/examples", "/v1/models", "/v1/models/{name}",
            "/v1/models/{name}:predict", "/v1/models/{name}/metadata", "/v2", "/v2/health/live", "/v2/health/ready",
            "/v2/models/{name}", "/v2/models/{name}/ready", "/v2/models/{name}/infer", "/ping", "/invocations",
        }  # fmt: skip
        named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
        assert named == described["components"]["schemas"].keys()
        page = service.ask("GET", "/docs").content
        assert all(f"{path}</code>" in page for path in described["paths"])
        assert all(f"<code>{name}</code>" in page for name in named)
        assert "src=" not in page
        assert f"curl -F image=@cat.png http://127.0.0.1:{service.port}/predict" in page
        assert "/v2/models/{name}/infer \\\n  -d &#39;" in page or "/v2/models/{name}/infer \\\n  -d '" in page

    def test_answers_are_as_described(self, service, images):
        for answer, model in (
            (service.ask("GET", "/livez"), schemas.Status),
            (service.ask("GET", "/readyz"), schemas.Status),
            (service.ask("GET", "/v1/models"), schemas.Models),
            (service.ask("GET", "/v1/models/digits"), schemas.ModelState),
            (service.ask("GET", "/v1/models/digits/metadata"), schemas.Metadata),
            (service.ask("GET", "/v2"), schemas.Server),
            (service.ask("GET", "/v2/models/digits"), schemas.Model),
            (service.ask("GET", "/v2/models/digits/ready"), schemas.Ready),
            (service.ask("GET", "/examples"), schemas.Examples),
            (service.predict({"instances": images[:1].tolist()}), schemas.Predictions),
            (service.predict({"inputs": [encoded(images[0])]}), schemas.Outputs),
            (service.upload(encode_png(images[0])), schemas.Answer),
            (service.ask("POST", "/explain", encode_png(images[0]), content_type="image/png"), schemas.Explanation),
            (service.predict({}), schemas.Error),
        ):
            fields = {field.alias or name for name, field in model.model_fields.items()}
            assert answer.content.keys() == fields, model
            model.model_validate(answer.content)

    def test_recorded_exchanges_of_tensorflow_serving(self, service):
        """Those of https://www.tensorflow.org/tfx/serving/api_rest for a model with one output, but for the numbers."""
        for exchange in json.loads((Path(__file__).parent / "tensorflow_serving.json").read_text()):
            asked, answered = exchange["request"], exchange["response"]
            answer = service.ask(asked["method"], asked["path"], asked.get("body"), **asked["headers"])
            assert answer.code == answered["code"], exchange
            assert shape(answer.content) == shape(json.loads(answered["body"])), exchange


def shape(value: object) -> object:
    """JSON with each number and text in a list, and each error, by its type alone."""
    if isinstance(value, dict):
        return {key: "text" if key == "error" else shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [type(inner).__name__ if isinstance(inner, (float, str)) else shape(inner) for inner in value]
    return value


ZERO = np.zeros((8, 8, 1), int).tolist()
GIF, TIFF, SVG = b"GIF89a" + b"\0" * 20, b"II*\0" + b"\0" * 20, b"<svg xmlns='http://www.w3.org/2000/svg'/>"


class TestRefusals:
    """Each has its code, and a JSON object with the reason."""

    def check(self, answer: SimpleNamespace, code: int) -> str:
        assert answer.code == code, answer.content
        assert answer.content.keys() == {"error"}
        assert "Traceback" not in answer.content["error"]
        assert 0 < len(answer.content["error"]) < 500
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        return answer.content["error"]

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (b"", 400), (b"{", 400), (b"\xff\xfe", 400), (b"[]", 400), (b"1" * 5000, 400), (b"nothing", 400),
            (b"[" * 100_000, 400), (b'{"instances":' * 10_000, 400),
            ({}, 400), ({"instance": [ZERO]}, 400), ({"instances": [ZERO], "inputs": [ZERO]}, 400),
            ({"instances": [ZERO], "signature_name": "x"}, 400), ({"instances": [ZERO], "signature_name": {}}, 400),
            ({"instances": []}, 422), ({"inputs": []}, 422), ({"inputs": {"image": []}}, 422),
            ({"instances": None}, 422), ({"instances": 1}, 422), ({"instances": "text"}, 422),
            ({"instances": {"image": [ZERO]}}, 422), ({"inputs": {"pixels": [ZERO]}}, 422),
            ({"instances": [ZERO, ZERO[:7]]}, 422), ({"instances": [[*ZERO[:7], [[0]] * 7]]}, 422),
            ({"instances": ZERO}, 422), ({"instances": [np.zeros((8, 8, 3), int).tolist()]}, 422),
            ({"instances": [np.full((8, 8, 1), "0").tolist()]}, 422),
            ({"instances": [np.full((8, 8, 1), 0.5).tolist()]}, 422),
            ({"instances": [np.full((8, 8, 1), np.nan).tolist()]}, 422),
            ({"instances": [np.full((8, 8, 1), 256).tolist()]}, 422),
            ({"instances": [np.full((8, 8, 1), -1).tolist()]}, 422),
            ({"instances": [ZERO, encoded(np.zeros((8, 8, 1), np.uint8))]}, 422),
            ({"instances": [{"b64": "?"}]}, 422), ({"instances": [{"b64": 1}]}, 422),
            ({"instances": [{"b64": ""}]}, 415), ({"instances": [{"b64": base64.b64encode(TIFF).decode()}]}, 415),
            ({"instances": [ZERO] * 17}, 413), ({"instances": [ZERO] * 2000}, 413),
        ],
    )  # fmt: skip
    def test_json(self, service, content, code):
        self.check(service.predict(content), code)

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (b"", 415), (b"hello", 415), (TIFF, 415), (SVG, 415),
            (b"\x89PNG\r\n\x1a\n", 422), (GIF, 422), (b"RIFF" + b"\0" * 50, 422), (b"BM" + b"\xff" * 50, 422),
            (b"\xff\xd8\xff\xe0" + b"\0" * 50, 422),
            (encode_png(np.zeros((8, 8, 1), np.uint8))[:45], 422),
            (bomb(), 413), (encode_png(np.zeros((1000, 101, 1), np.uint8)), 413), (b"\0" * (BODY + 1), 413),
        ],
    )  # fmt: skip
    def test_files(self, service, content, code):
        self.check(service.upload(content), code)

    def test_pixels_of_all_images_count_together(self, service):
        file = encoded(np.zeros((300, 300, 1), np.uint8))
        assert "180000 pixels" in self.check(service.predict({"instances": [file] * 2}), 413)

    def test_forms(self, service):
        kind = "multipart/form-data; boundary=x"
        field = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\nhello\r\n--x--\r\n'
        self.check(service.upload(b"", kind), 400)
        self.check(service.upload(b"no form", kind), 400)
        self.check(service.upload(b"no form", "multipart/form-data"), 400)
        self.check(service.upload(field % (b"picture", b'; filename="a"'), kind), 400)
        self.check(service.upload(field % (b"image", b""), kind), 400)
        self.check(service.upload(field % (b"image", b'; filename="a"'), kind), 415)

    def test_types(self, service, images):
        self.check(service.upload(encode_png(images[0]), "image/tiff"), 415)
        self.check(service.upload(encode_png(images[0]), "text/html"), 415)
        self.check(service.predict({"instances": [ZERO]}, content_type="image/png"), 415)
        self.check(service.predict(b"\x1f\x8b", content_encoding="br"), 415)

    def test_addresses_and_verbs(self, service):
        for path in ("/nothing", "/v1/models/nothing", "/v1/models/digits:explain", "/predict/", "/%00", "/../x"):
            self.check(service.ask("GET", path), 404)
        self.check(service.predict({}, path="/v1/models/nothing:predict"), 404)
        assert "known: digits, other" in self.check(service.ask("POST", "/predict?model=x"), 404)
        answer = service.ask("GET", "/predict")
        self.check(answer, 405)
        assert answer.headers["allow"] == "POST"
        assert service.ask("PUT", "/v1/models/digits:predict").headers["allow"] == "POST"
        for verb in ("DELETE", "PUT", "PATCH", "OPTIONS"):
            self.check(service.ask(verb, "/v1/models"), 405)

    def test_body_of_unknown_size(self, service):
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n"
        chunk = b"10000\r\n" + b"\0" * 65536 + b"\r\n"
        received = service.raw(head + b"Connection: close\r\n\r\n", *[chunk] * 4, b"0\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 413 ")
        assert received.endswith(b'{"error":"the body has more than 200000 bytes"}')

    def test_what_is_no_http(self, service):
        for sent in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"\x16\x03\x01\x02\0\x01"):
            assert service.raw(sent).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        received = service.raw(b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100_000)
        assert received.startswith(b"HTTP/1.1 431 ")

    def test_slow_clients(self, service):
        began = time.monotonic()
        assert service.raw(b"GET /livez HT").startswith(b"HTTP/1.1 408 ")
        assert service.raw() == b""
        body = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n1"
        assert service.raw(body).startswith(b"HTTP/1.1 408 ")
        assert service.raw(body, b"2", b"3", pause=0.4).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 30

    def test_clients_that_go_away(self, service, images):
        body = json.dumps({"instances": images.tolist()}).encode()
        head = f"POST /v1/models/digits:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        for sent in (head[:20], head, head + body[:99], head + body):
            with socket.create_connection(("127.0.0.1", service.port)) as connection:
                connection.sendall(sent)
        wait_for(lambda: service.figure("cifar_requests_in_flight") == 1, 10)  # the one that asks for it
        assert service.predict({"instances": [ZERO]}).code == 200
        assert "Traceback" not in service.output()


def hostile(draw: random.Random) -> tuple[str, str, bytes, str]:
    """A request that somebody may send: method, path, body, content type; some are as described, most nearly so."""
    gray = np.asarray(draw.choices(range(256), k=64), np.uint8).reshape(8, 8, 1)
    values: list = [gray.tolist(), encoded(gray), {"image": gray.tolist()}, {"b64": "AAAA"}, gray[:7].tolist(), None, 1,
                    -0.5, 1e300, "text", "é" * 50, [], {}, [[[]]], True, [[["x"]]], {"b64": None}]  # fmt: skip
    content = {draw.choice(["instances", "inputs", "x"]): draw.choice([draw.choices(values, k=draw.randrange(4)),
                                                                      draw.choice(values)])}  # fmt: skip
    if draw.random() < 0.2:
        content["signature_name"] = draw.choice(["serving_default", "serving_bytes", "x", None, 1, []])
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    form = head + encode_png(gray) + b"\r\n--x--\r\n"
    multipart = "multipart/form-data; boundary=x"
    body, kind = draw.choice([(json.dumps(content).encode(), "application/json")] * 4 + [(form, multipart)] * 2 + [
        (encode_png(gray), "image/png"), (bomb(), "image/png"), (b"", "text/plain"),
        (b"\0" * 300, "image/jpeg")])  # fmt: skip
    for _ in range(draw.choice([0, 0, 0, 1, 5])):  # bytes that are changed, or cut off
        place = draw.randrange(len(body) + 1)
        body = body[:place] + draw.randbytes(draw.choice([0, 1, 9])) + body[place + draw.randrange(3) :]
    kind = draw.choice([kind] * 8 + ["application/json", "image/png", multipart, "é"])
    usual = "/v1/models/digits:predict" if kind == "application/json" else "/predict"
    paths = [usual] * 12 + ["/predict", "/v1/models/digits:predict", "/v1/models/x:predict", "/predict?model=%ff", "/x",
                            "/v1/models", "/livez", "/readyz", "/v1/models/digits", "/docs"]  # fmt: skip
    method = draw.choice(["POST"] * 9 + ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
    return method, draw.choice(paths), body, kind


def fuzz(service: Service, requests: range) -> set[int]:
    """The codes of the answers; each answer that is an error says so, and each is described."""
    described = service.ask("GET", "/openapi.json").content["paths"]
    codes = set()
    for seed in requests:
        method, path, body, kind = hostile(random.Random(seed))
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        connection.request(method, path, body, {"content-type": kind.encode("latin1")})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        codes.add(answer.status)
        assert answer.status < 500, (seed, content)
        if answer.status >= 400 and method != "HEAD":
            assert json.loads(content).keys() == {"error"}, seed
        place = path.partition("?")[0].replace("/digits", "/{name}").replace("/x:", "/{name}:")
        operation = described.get(place, {}).get(method.lower())
        if operation:
            assert {str(answer.status), f"{answer.status // 100}XX"} & operation["responses"].keys(), seed
    return codes


def test_nothing_that_is_sent_breaks_it(service):
    codes = fuzz(service, range(400))
    assert codes >= {200, 400, 404, 405, 413, 415, 422}
    assert "Traceback" not in service.output()


@pytest.mark.slow
def test_ten_thousand_hostile_requests_leave_no_memory_behind(service):
    fuzz(service, range(2000))
    before = service.figure("process_resident_memory_bytes")
    fuzz(service, range(2000, 12_000))
    assert service.figure("process_resident_memory_bytes") < 1.05 * before
    assert "Traceback" not in service.output()

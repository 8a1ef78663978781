"""The parts of the service without a model: batches, decoding, the middleware, and what `serve` refuses."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import socket
import threading
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cifar import tracking
from cifar.config.compose import resolve
from cifar.images.photos import Preparation
from cifar.interfaces import Dataset
from cifar.runtime.errors import InputError
from cifar.serving import decoding, mlflow_scoring, open_inference, openapi, process, tensorflow_serving
from cifar.serving.batching import Batcher, QueueFull
from cifar.serving.middleware import HEADERS
from cifar.serving.models import batch_sizes
from cifar.serving.tokens import Tokens
from cifar.training.experiment import Experiment
from helpers.processes import error_line
from helpers.runs import composed, record, sqlite
from helpers.serving import asked, guarded


def images(count: int, value: int = 0) -> np.ndarray:
    return np.full((count, 2, 2, 1), value, np.uint8)


class Sums:
    """A computation that takes a while, and remembers its batches."""

    def __init__(self, seconds: float = 0.02):
        self.batches: list[list[int]] = []
        self.may_end = threading.Event()
        self.may_end.set()
        self._seconds = seconds

    def __call__(self, requests):
        self.batches.append([len(request) for request in requests])
        time.sleep(self._seconds)
        self.may_end.wait(60)
        if any((request == 13).any() for request in requests):
            raise ValueError("unlucky")
        return [request.sum() for request in requests]


class TestBatcher:
    def test_each_gets_its_own_from_few_batches(self):
        async def main():
            batcher = Batcher(sums := Sums(), max_size=8, max_wait=1, max_queue=100)
            answers = await asyncio.gather(*(batcher.submit(images(1 + n % 3, n)) for n in range(12)))
            assert answers == [4 * n * (1 + n % 3) for n in range(12)]
            assert batcher.images == 0
            return sums.batches

        batches = asyncio.run(main())
        assert all(sum(batch) <= 8 for batch in batches)
        assert len(batches) == 4

    def test_one_alone_does_not_wait(self):
        async def main():
            batcher = Batcher(Sums(0), max_size=8, max_wait=1000, max_queue=8)
            for _ in range(3):
                await batcher.submit(images(1))

        began = time.monotonic()
        asyncio.run(main())
        assert time.monotonic() - began < 0.9

    def test_waits_for_as_many_as_before_but_not_for_ever(self):
        async def main():
            batcher = Batcher(sums := Sums(0), max_size=8, max_wait=1000, max_queue=8)
            await asyncio.gather(*(batcher.submit(images(1)) for _ in range(3)))
            first = batcher.submit(images(1))
            await asyncio.sleep(0.05)
            later = [batcher.submit(images(1)) for _ in range(2)]
            await asyncio.gather(first, *later)
            await batcher.submit(images(1))
            return sums.batches

        assert asyncio.run(main()) == [[1, 1, 1], [1, 1, 1], [1]]

    def test_full_queue(self):
        async def main():
            batcher = Batcher(Sums(), max_size=4, max_wait=0, max_queue=4)
            taken = [batcher.submit(images(2)) for _ in range(2)]
            with pytest.raises(QueueFull):
                batcher.submit(images(1))
            await asyncio.gather(*taken)
            await batcher.submit(images(4))

        asyncio.run(main())

    def test_who_goes_away_is_forgotten(self):
        async def main():
            batcher = Batcher(sums := Sums(), max_size=2, max_wait=0, max_queue=9)
            answers = [batcher.submit(images(2, n)) for n in range(4)]
            answers[2].cancel()
            await asyncio.sleep(0.01)
            answers[0].cancel()  # which is being computed by now
            assert await answers[1] == 8
            assert await answers[3] == 24
            return sums.batches

        assert asyncio.run(main()) == [[2], [2], [2]]

    def test_a_failure_is_raised_in_the_requests_of_its_batch(self):
        async def main():
            batcher = Batcher(Sums(), max_size=1, max_wait=0, max_queue=9)
            results = await asyncio.gather(
                *(batcher.submit(images(1, n)) for n in (12, 13, 14)), return_exceptions=True
            )
            assert (results[0], results[2]) == (48, 56)
            assert isinstance(results[1], ValueError)

        asyncio.run(main())


def test_sizes_of_batches():
    assert batch_sizes(1) == [1]
    assert batch_sizes(20) == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    assert batch_sizes(64)[-3:] == [32, 48, 64]


ROWS = [[[1], [2]], [[3], [255]]]


class TestDecoding:
    def test_numbers(self):
        expected = np.array([ROWS, ROWS], np.uint8)
        assert (decoding.pixels([ROWS, ROWS], (2, 2, 1)) == expected).all()
        floats = [[[1.0], [2]], [[3.0], [255.0]]]
        assert (decoding.pixels([floats, ROWS], (2, 2, 1)) == expected).all()

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([[[1], [2]]], "wrong shape"),
            ([[1, 2], [3, 4]], "wrong shape"),
            ([[[1], [2]], [[3], []]], "wrong shape, or ragged"),
            ([[[1], [2]], [[3], 4]], "wrong shape, or ragged"),
            ([[[[1]], [[2]]], [[[3]], [[4]]]], "no number"),
            ("text", "wrong shape"),
            (None, "wrong shape"),
            ([[[1], [2]], [[3], ["4"]]], "no number"),
            ([[[1], [2]], [[3], [True]]], "no number"),
            ([[[1], [2]], [[3], [None]]], "no number"),
            ([[[1], [2]], [[3], [float("nan")]]], "not finite"),
            ([[[1], [2]], [[3], [float("inf")]]], "not finite"),
            ([[[1], [2]], [[3], [0.5]]], "a fraction"),
            ([[[1], [2]], [[3], [256]]], "out of range"),
            ([[[1], [2]], [[3], [-1]]], "out of range"),
            ([[[1], [2]], [[3], [10**400]]], "out of range"),
        ],
    )
    def test_what_are_no_images(self, value, message):
        with pytest.raises(HTTPException) as error:
            decoding.pixels([ROWS, value], (2, 2, 1))
        assert error.value.status_code == 422
        assert error.value.detail.startswith(message)
        assert "(2, 2, 1)" in error.value.detail

    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
    @settings(max_examples=60, deadline=None)
    def test_any_json_is_taken_or_refused(self, value):
        target = decoding.Target(Preparation((2, 2, 1), "crop"), False, 8, 100)
        for body in (value, {"instances": value}, {"inputs": value}, {"instances": [value, ROWS]}):
            for parse in (
                tensorflow_serving.parse,
                mlflow_scoring.parse,
                partial(open_inference.parse, json_size=None),
            ):
                try:
                    _, found = parse(json.dumps(body).encode(), target)
                except HTTPException as error:
                    assert 400 <= error.status_code < 500
                else:
                    assert found.shape[1:] == (2, 2, 1)


class TestMiddleware:
    def test_token(self):
        _, app = guarded("secret")
        for path in ("/v1/models/none", "/metrics", "/explain", "/nothing"):
            code, headers, answer = asyncio.run(asked(app, "GET", path, b""))
            assert (code, headers["www-authenticate"]) == (401, "Bearer")
            assert answer == {"error": "a bearer token is required"}
        for wrong in ("secret", "Bearer secre", "Bearer secret2", "Bearer sécret", "Basic secret"):
            code, headers, answer = asyncio.run(asked(app, "GET", "/v1/models/none", authorization=wrong))
            assert (code, headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
            assert answer == {"error": "the bearer token is not valid"}
        for scheme in ("Bearer", "bearer", "BEARER"):
            assert asyncio.run(asked(app, "GET", "/v1/models/none", authorization=f"{scheme} secret"))[0] == 200
        for path in openapi.OPEN - {"/ping", "/docs"}:
            assert asyncio.run(asked(app, "GET", path))[0] == 200
        document = asyncio.run(asked(app, "GET", "/openapi.json", authorization="Bearer secret"))[2]
        assert document["security"] and not document["paths"]["/livez"]["get"]["security"]

    def test_description_has_the_shapes_of_the_current_models(self):
        service, app = guarded()

        def described() -> dict:
            return asyncio.run(asked(app, "GET", "/openapi.json"))[2]

        for size in (2, 3):
            service.models["none"].image_shape = (size, 2, 1)
            content = described()["paths"]["/v1/models/{name}:predict"]["post"]["requestBody"]["content"]
            rows, columns = content["application/json"]["schema"]["oneOf"]
            lists = (rows["properties"]["instances"]["anyOf"][0], columns["properties"]["inputs"]["anyOf"][0])
            for found in lists:
                assert (found["maxItems"], found["items"]["minItems"], found["items"]["maxItems"]) == (64, size, size)

    def test_headers_and_counting_of_every_answer(self):
        service, app = guarded()
        for path, code in (("/livez", 200), ("/nothing", 404), ("/predict", 405)):
            answered, headers, _ = asyncio.run(asked(app, "GET", path, b""))
            assert answered == code
            assert HEADERS.items() <= headers.items()
        service.models = {}
        text = service.metrics.text().decode()
        assert 'cifar_requests_total{code="404",route="none"} 1.0' in text
        assert 'cifar_requests_total{code="405",route="/predict"} 1.0' in text
        assert "cifar_requests_in_flight 0.0" in text

    def test_draining_is_announced(self):
        service, app = guarded()
        service.is_draining = True
        code, headers, answer = asyncio.run(asked(app, "GET", "/readyz"))
        assert (code, headers["connection"], answer) == (503, "close", {"error": "the service is shutting down"})
        assert asyncio.run(asked(app, "GET", "/livez"))[0] == 200

    def test_bodies_in_flight_have_a_limit_and_a_time(self):
        """What has arrived counts, and not what is declared."""
        service, app = guarded(max_body=100, timeout=0.3)
        upload = {"content_type": "image/png", "transfer_encoding": "chunked"}

        async def main(size: int):
            slow = [
                asyncio.create_task(asked(app, "POST", "/predict", b"x" * size, False, **upload)) for _ in range(16)
            ]
            await asyncio.sleep(0)
            another = await asked(app, "POST", "/predict", b"x", content_length="1", content_type="image/png")
            return another, await asyncio.gather(*slow)

        for size, expected in ((100, 503), (100, 503), (99, 415)):  # each finds what the one before has given back
            (code, headers, _), late = asyncio.run(main(size))
            assert code == expected
            assert "retry-after" in headers or code == 415
            assert {answer[0] for answer in late} == {408}
            assert {answer[1]["connection"] for answer in late} == {"close"}
            assert service.memory.used == 0

    @pytest.mark.parametrize("is_packed", [False, True])
    def test_small_requests_are_answered_however_many_large_ones_arrive(self, is_packed):
        _, app = guarded(max_body=2**22, timeout=0.3)
        large = bytes(2**22)
        upload = {"content_type": "image/png", "transfer_encoding": "chunked"}
        if is_packed:
            large, upload = gzip.compress(large), upload | {"content_encoding": "gzip"}

        async def main():
            slow = [asyncio.create_task(asked(app, "POST", "/predict", large, False, **upload)) for _ in range(13)]
            await asyncio.sleep(0.1)
            small = await asked(app, "POST", "/predict", bytes(2**20), content_type="image/png")
            return small[0], [code for code, _, _ in await asyncio.gather(*slow)]

        small, others = asyncio.run(main())
        assert small == 415
        assert sorted(others) == [408] * 12 + [503], "48 MiB of large bodies"

    @pytest.mark.parametrize("sized", [True, False])
    def test_body_that_is_too_large(self, sized):
        _, app = guarded(max_body=100)
        headers = {"content_length": "101"} if sized else {"transfer_encoding": "chunked"}
        code, _, answer = asyncio.run(asked(app, "POST", "/predict", b"x" * 101, content_type="image/png", **headers))
        assert code == 413
        assert answer["error"].endswith("100" if sized else "100 bytes")

    def test_client_that_goes_away(self):
        service, _ = guarded()

        async def gone():
            return {"type": "http.disconnect"}

        async def main():
            model = SimpleNamespace(batcher=Batcher(sums := Sums(), max_size=1, max_wait=0, max_queue=3))
            sums.may_end.clear()
            before = model.batcher.submit(images(1))
            with pytest.raises(ClientDisconnect):
                await service.outputs(model.batcher, images(1), SimpleNamespace(receive=gone))
            after = model.batcher.submit(images(1))
            sums.may_end.set()
            await asyncio.gather(before, after)
            assert sums.batches == [[1], [1]]

        asyncio.run(main())

    def test_full_queue(self):
        service, _ = guarded()

        async def main():
            model = SimpleNamespace(batcher=Batcher(Sums(), max_size=1, max_wait=0, max_queue=0))
            with pytest.raises(HTTPException) as error:
                await service.outputs(model.batcher, images(1), None)
            assert (error.value.status_code, error.value.headers) == (503, {"Retry-After": "1"})

        asyncio.run(main())


class TestCommand:
    """What `python -m cifar serve` refuses before TensorFlow loads."""

    @pytest.fixture(scope="class")
    def uri(self, tmp_path_factory):
        return sqlite(tmp_path_factory.mktemp("store"))

    @pytest.fixture
    def serve(self, command, uri, monkeypatch):
        monkeypatch.setattr("cifar.serving.process.load_tensorflow", lambda: pytest.fail("not refused in time"))
        return lambda *arguments: error_line(command(uri, "serve", "--port", "0", *arguments))

    def test_no_run(self, serve):
        assert serve() == "serve: a RUN or --best EXPERIMENT METRIC is needed"

    def test_unknown_run(self, serve, uri):
        tracking.connect(uri)
        assert serve("0" * 32).startswith(f"run {'0' * 32}: ")

    def test_unfinished_run(self, serve, uri):
        tracking.connect(uri)
        with tracking.start(resolve(composed("data=digits")).tracking) as run:
            assert serve(run.id) == f"run {run.id}: the run is RUNNING, not finished"

    def test_names_and_what_is_best(self, serve, uri):
        runs = [record(uri, "a run") for _ in range(2)]
        assert serve(*runs).startswith(f"a-run: name of both runs {runs[0]} and {runs[1]}")
        assert serve(f"a/b={runs[0]}").startswith(f"a/b={runs[0]}: a model's name should consist of letters")
        assert serve("--best", "digit", "test/accuracy").startswith("experiment digit: unknown; did you mean 'digits'?")
        assert serve("--best", "digits", "test/accurcy").startswith("metric test/accurcy: no run has it; did you mean")

    def test_address_that_is_taken(self, serve):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            assert serve("--port", port, "abc") == f"--host=127.0.0.1 --port={port}: Address already in use"

    def test_limits(self, serve, command, uri):
        assert serve("--queue", "8", "--max-batch", "9", "x") == "--queue=8: should be at least --max-batch=9"
        for wrong in (("--port", "65536"), ("--max-batch", "0"), ("--max-wait", "x"), ("--timeout", "nan")):
            done = command(uri, "serve", "x", *wrong)
            assert (done.code, done.stdout) == (2, "")
            assert wrong[0] in done.stderr

    def test_tokens(self, serve, command, uri, tmp_path, monkeypatch):
        file = tmp_path / "token"
        assert serve("--token-file", file, "x").startswith(f"--token-file={file}: ")
        for content, message in (("\n", "the file is empty"), ("a\nsécret", "token 2 has other characters"),
                                 ("two words", "token 1 has other characters")):  # fmt: skip
            file.write_text(content)
            assert serve("--token-file", file, "x").startswith(f"--token-file={file}: {message}")
        for option in (("--token", "hidden"), ("--token=hidden",)):
            line = error_line(command(uri, "serve", "x", *option))
            assert "tokens are taken from a file, by --token-file" in line and "hidden" not in line
        monkeypatch.setenv("CIFAR_TOKEN", "\n")
        assert serve("x") == "CIFAR_TOKEN: is blank"

    def test_origins(self, command, uri):
        for wrong in ("example.org", "https://example.org/page", "null"):
            assert "should be * or like https://example.org" in command(uri, "serve", "x", "--cors", wrong).stderr


@pytest.mark.parametrize("chosen", [
    ["model=airbench", "task.class_weights=balanced"], ["model=resnet20", "task=segmentation"],
    ["model=resnet20", "task=detection", "task.levels=[1,2]"],
    ["model=resnet20", "task=detection", "task.head=box"],
], ids=" ".join)  # fmt: skip
def test_task_and_backbone_are_built_where_the_data_is_not(chosen):
    stated = resolve(composed("data=digits", *chosen))
    blank = Dataset.placeholder("digits", list("0123456789"), [16, 16, 1])
    experiment = Experiment.prepare(stated, blank)
    assert experiment.task.class_names[-10:] == tuple("0123456789")
    assert experiment.model().input_shape == (None, 16, 16, 1)


class Marks:
    """A task that finds one box in the model's image, and a mask that is its left half."""

    is_dense = True

    def of_exported(self, outputs):
        mask = np.zeros((1, 20, 20), np.uint8)
        mask[:, :, :10] = 1
        return {"boxes": np.array([[[0.0, 5.0, 10.0, 15.0]]]), "mask": mask}


@pytest.mark.parametrize(("max_side", "size"), [(None, (150, 300)), (100, (50, 100))])
def test_places_are_pixels_of_the_photo(max_side, size):
    service, _ = guarded()
    content = io.BytesIO()
    Image.new("RGB", (300, 150), "red").save(content, "PNG")  # in the model's image from row 5 to 15

    async def main():
        batcher = Batcher(lambda requests: requests, max_size=1, max_wait=0, max_queue=1)
        model = SimpleNamespace(task=Marks(), preparation=Preparation((20, 20, 1), "letterbox"), batcher=batcher)
        request = SimpleNamespace(receive=asyncio.Event().wait)
        return await service.predict(model, content.getvalue(), request, max_side)

    photo, found = asyncio.run(main())
    height, width = size
    assert photo.shape == ((height, width, 1) if max_side else (20, 20, 1))
    np.testing.assert_allclose(found["boxes"], [[[0, 0, width / 2, height]]])
    assert found["mask"].shape == (1, height, width)
    assert (found["mask"][0, :, : width // 2] == 1).all()
    assert not found["mask"][0, :, width // 2 :].any()


def test_tokens_of_a_file_are_read_again(tmp_path):
    file = tmp_path / "tokens"
    file.write_text("\ufefffirst\r\n\n second \n", "utf-8")
    tokens = Tokens(file)
    assert [tokens.accept(f"Bearer {token}") for token in ("first", "second", "third", "")] == [
        True,
        True,
        False,
        False,
    ]
    file.write_text("third")
    tokens.read_again()
    assert [tokens.accept(f"Bearer {token}") for token in ("first", "third")] == [False, True]
    file.write_text("")
    with pytest.raises(InputError, match="the file is empty"):
        tokens.read_again()
    assert tokens.accept("Bearer third")


def test_pages_of_an_origin():
    service, _ = guarded()

    async def main(origins: list[str]):
        app = process.application(service, Tokens(None), origins, None)
        return (await asked(app, "GET", "/livez", origin="https://a.org"))[1], (
            await asked(app, "OPTIONS", "/v1/models/x:predict", origin="https://a.org",
                        access_control_request_method="POST", access_control_request_headers="authorization")
        )[0]  # fmt: skip

    for origins, allowed in (([], None), (["https://a.org"], "https://a.org"), (["https://b.org"], None), (["*"], "*")):
        headers, code = asyncio.run(main(origins))
        assert headers.get("access-control-allow-origin") == allowed
        assert (code == 200) == (allowed is not None)

"""The protocols that clients of other servers speak, with a model that returns the means of its images."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cifar.images.photos import Preparation
from cifar.serving import bodies
from cifar.serving.batching import Batcher
from helpers.serving import asked, guarded

SHAPE = (2, 3, 1)
IMAGES = np.arange(12, dtype=np.uint8).reshape(2, *SHAPE)
MEANS = [[2.5, 0.0], [8.5, 1.0]]
BLACK = bodies.EXAMPLE


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "PNG")
    return file.getvalue()


class Means:
    """A task whose outputs are the mean of each image and 1, if it is above 5."""

    is_dense, main_metric = False, "accuracy"

    def of_exported(self, outputs):
        return {"probabilities": next(iter(outputs.values()))}

    def decode(self, predictions):
        return predictions["probabilities"].tolist()


def compute(requests):
    means = [images.mean(axis=(1, 2, 3), dtype=np.float32) for images in requests]
    return [np.stack([mean, mean > 5], axis=1).astype(np.float32) for mean in means]


def answers(*requests: tuple[Any, ...], names: tuple[str, ...] = ("probabilities",), **options: Any) -> list[Any]:
    """(code, headers, content) for each request: method, path, body, headers."""
    service, app = guarded(**options)

    def named(requests):
        return [dict.fromkeys(names, outputs) for outputs in compute(requests)]

    async def main():
        run = SimpleNamespace(id="0" * 32, name="a run", experiment="digits", tags={},
                              metrics={"test/accuracy": 0.5, "val/loss": float("nan")})  # fmt: skip
        service.models = {"means": SimpleNamespace(
            name="means", run=run, task=Means(), task_name="classification", image_shape=SHAPE, class_names=("a", "b"),
            preparation=Preparation(SHAPE, "crop"), numbers=2, outputs=dict.fromkeys(names, ("float32", (None, 2))),
            batcher=Batcher(named, max_size=8, max_wait=0, max_queue=64),
        )}  # fmt: skip
        found = []
        for method, path, content, headers in requests:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            found.append(await asked(app, method, path, body, **{"content_type": "application/json"} | headers))
        return found

    return asyncio.run(main())


def posted(path: str, content: Any, **headers: str) -> tuple[Any, ...]:
    return "POST", path, content, headers


def got(path: str, method: str = "GET") -> tuple[Any, ...]:
    return method, path, b"", {}


def test_tensorflow_serving():
    path = "/v1/models/means"
    rows, columns, version, unknown, packed, about = answers(
        posted(f"{path}:predict", {"instances": IMAGES.tolist()}),
        posted(f"{path}/versions/1:predict", {"inputs": {"image": IMAGES.tolist()}}),
        got(f"{path}/versions/0"),
        got(f"{path}/versions/2"),
        posted(f"{path}:predict", gzip.compress(json.dumps({"instances": IMAGES.tolist()}).encode()),
               content_encoding="gzip"),
        got(f"{path}/metadata"),
    )  # fmt: skip
    assert rows[0::2] == packed[0::2] == (200, {"predictions": MEANS})
    assert columns[0::2] == (200, {"outputs": MEANS})
    assert version[2]["model_version_status"][0]["version"] == "1"
    assert unknown[0::2] == (404, {"error": "version 2: unknown; known: 1"})
    assert about[2]["model_spec"] == {"name": "means", "signature_name": "", "version": "1"}
    signatures = about[2]["metadata"]["signature_def"]["signature_def"]
    image = signatures["serving_default"]["inputs"]["image"]
    assert (image["dtype"], [int(size["size"]) for size in image["tensor_shape"]["dim"]]) == ("DT_UINT8", [-1, *SHAPE])
    assert signatures["serving_bytes"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    output = signatures["serving_default"]["outputs"]["probabilities"]
    assert (output["dtype"], output["tensor_shape"]["dim"][1]["size"]) == ("DT_FLOAT", "2")


def test_several_outputs_have_their_names():
    rows, columns = answers(
        posted("/v1/models/means:predict", {"instances": IMAGES.tolist()}),
        posted("/v1/models/means:predict", {"inputs": IMAGES.tolist()}),
        names=("boxes", "scores"),
    )
    assert rows[2] == {"predictions": [{"boxes": mean, "scores": mean} for mean in MEANS]}
    assert columns[2] == {"outputs": {"boxes": MEANS, "scores": MEANS}}


def test_open_inference_protocol():
    path = "/v2/models/means"
    tensor = {"name": "image", "datatype": "UINT8", "shape": [2, *SHAPE]}
    texts = {"name": "image_bytes", "datatype": "BYTES", "shape": [2]}
    files = [png(image) for image in IMAGES]
    binary = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 12}}]}).encode()
    sized = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    binary_files = json.dumps({"inputs": [{**texts, "parameters": {"binary_data_size": len(sized)}}]}).encode()
    server, live, ready, about, model_ready, *inferred = answers(
        got("/v2"), got("/v2/health/live"), got("/v2/health/ready"), got(path), got(f"{path}/versions/1/ready"),
        posted(f"{path}/infer", {"id": "7", "inputs": [{**tensor, "data": IMAGES.ravel().tolist()}]}),
        posted(f"{path}/versions/1/infer", {"inputs": [{**tensor, "data": IMAGES.tolist()}]}),
        posted(f"{path}/infer", {"inputs": [{**texts, "data": [base64.b64encode(file).decode() for file in files]}],
                                 "outputs": [{"name": "probabilities"}]}),
        posted(f"{path}/infer", binary + IMAGES.tobytes(), content_type="application/octet-stream",
               inference_header_content_length=str(len(binary))),
        posted(f"{path}/infer", binary_files + sized, content_type="application/octet-stream",
               inference_header_content_length=str(len(binary_files))),
    )  # fmt: skip
    assert server[2]["extensions"] == ["binary_tensor_data"]
    assert (live[2], ready[2], model_ready[2]) == ({"live": True}, {"ready": True}, {"name": "means", "ready": True})
    assert about[2]["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, *SHAPE]}]
    assert about[2]["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}]
    output = {"name": "probabilities", "datatype": "FP32", "shape": [2, 2], "data": [2.5, 0.0, 8.5, 1.0]}
    assert inferred[0][2] == {"model_name": "means", "model_version": "1", "id": "7", "outputs": [output]}
    for code, _, content in inferred:
        assert (code, content["outputs"]) == (200, [output])


@pytest.mark.parametrize(("change", "code"), [
    ({"datatype": "TEXT"}, 400), ({"shape": [1, 8, 8, 1]}, 422), ({"shape": "x"}, 400), ({"data": [1, 2]}, 422),
    ({"data": ["x"] * 6}, 422), ({"data": None}, 400), ({"datatype": "BYTES", "data": [1]}, 422),
    ({"datatype": "BYTES", "data": []}, 422), ({"shape": [9, *SHAPE], "data": [0] * 54}, 413),
    ({"parameters": {"binary_data_size": 6}, "datatype": "FP32"}, 400), ({"parameters": {"binary_data_size": 6}}, 422),
    ({"name": 5}, 400), ({"parameters": 5}, 400), ({"datatype": "BYTES", "data": [BLACK], "shape": [2]}, 422),
])  # fmt: skip
def test_open_inference_protocol_refuses(change, code):
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, *SHAPE], "data": [0] * 6} | change
    ((found, _, content),) = answers(posted("/v2/models/means/infer", {"inputs": [tensor]}), max_batch=8)
    assert found == code and content.keys() == {"error"}


def test_mlflow():
    ping, inputs, instances, frame = answers(
        got("/ping"),
        posted("/invocations", {"inputs": IMAGES.tolist()}),
        posted("/invocations", {"instances": [{"b64": base64.b64encode(png(image)).decode()} for image in IMAGES]}),
        posted("/invocations", {"dataframe_split": {}}),
    )
    assert ping[0] == 200
    assert inputs[0::2] == instances[0::2] == (200, {"predictions": MEANS})
    assert frame[0] == 400


@pytest.mark.parametrize("form", ["wrapped", "unpadded", "URL-safe"])
def test_base64_as_clients_write_it(form):
    encoded = [base64.b64encode(png(image)) for image in IMAGES]
    if form == "wrapped":
        encoded = [base64.encodebytes(png(image)) for image in IMAGES]
    elif form == "unpadded":
        encoded = [text.rstrip(b"=") for text in encoded]
    else:
        encoded = [base64.urlsafe_b64encode(png(image)) for image in IMAGES]
    ((code, _, content),) = answers(
        posted("/v1/models/means:predict", {"instances": [{"b64": text.decode()} for text in encoded]})
    )
    assert (code, content) == (200, {"predictions": MEANS})


def test_gzip_is_unpacked_within_limits():
    bomb, broken, cut = answers(
        posted("/predict", gzip.compress(bytes(2**20)), content_encoding="gzip", content_type="image/png"),
        posted("/predict", b"no gzip", content_encoding="gzip", content_type="image/png"),
        posted("/predict", gzip.compress(b"x" * 50)[:-4], content_encoding="gzip", content_type="image/png"),
        max_body=1000,
    )
    assert bomb[0::2] == (413, {"error": "the body has more than 1000 bytes"})
    assert (broken[0], cut[0]) == (400, 400)


def test_head_metrics_that_are_not_finite_and_request_ids():
    head, models = answers(("HEAD", "/livez", b"", {"x_request_id": "abc-1"}), got("/v1/models"))
    assert (head[0], head[1]["x-request-id"]) == (200, "abc-1")
    assert len(models[1]["x-request-id"]) == 32
    (about,) = models[2]["models"]
    assert (about["main_metric"], about["metrics"]) == ("accuracy", {"test/accuracy": 0.5, "val/loss": None})

"""Work that one request can ask for, and where it is done."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import struct
import time
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from starlette.exceptions import HTTPException

from cifar.images import untrusted
from cifar.images.io import open_image
from cifar.images.photos import Preparation
from cifar.runtime.errors import InputError
from cifar.serving import decoding, encoding, tensorflow_serving
from cifar.serving.access_log import AccessLog
from cifar.serving.limits import Limits
from cifar.serving.middleware import PART, Answer
from cifar.serving.service import Service
from cifar.serving.workers import Workers
from helpers.processes import slowdown


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8))


class TestUntrusted:
    def test_texts_of_a_png_are_not_unpacked(self):
        plain = saved(NOISE, "PNG", exif=Image.Exif())
        text = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(2**20)))
        profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**20)))
        first = 8 + 25  # after the signature and the header
        bounded = untrusted.bounded(plain[:first] + profile + text * 100 + plain[first:], "x")
        assert bounded == plain
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(bounded))), np.asarray(NOISE))

    @pytest.mark.parametrize("cut", [0, 3, 20, 40])
    def test_what_is_cut_off_is_refused_later(self, cut):
        content = untrusted.bounded(saved(NOISE, "PNG")[: 8 + cut], "x")
        with pytest.raises((InputError, OSError)):
            open_image(io.BytesIO(content), "x").load()

    def test_chunks_are_counted(self):
        with pytest.raises(InputError, match="too many chunks"):
            untrusted.bounded(untrusted.PNG + chunk(b"teXt") * 20_000, "x")

    def test_scans_are_counted(self):
        progressive = saved(NOISE, "JPEG", progressive=True)
        assert untrusted.bounded(progressive, "x") is progressive
        start = progressive.rindex(b"\xff\xda")
        scan = progressive[start:-2]
        assert untrusted.bounded(progressive[:-2] + scan * 30 + b"\xff\xd9", "x")
        for hidden in (b"", b"\xff\x01\xff\xff", b"\xff\xd0\xff\xff"):  # markers without a length
            with pytest.raises(InputError, match="too many scans"):
                untrusted.bounded(progressive[:-2] + hidden + scan * 100 + b"\xff\xd9", "x")
        assert untrusted.bounded(progressive + scan * 100, "x"), "what follows the end of the image, such as a film"

    def test_segments_are_counted(self):
        photo = saved(NOISE, "JPEG", comment=b"x" * 100, exif=Image.Exif())
        assert untrusted.bounded(photo, "x") is photo
        with pytest.raises(InputError, match="segments"):
            untrusted.bounded(photo[:2] + b"\xff\xfe\0\2" * 3000 + photo[2:], "x")


class TestWorkers:
    def test_work_that_does_not_end_is_given_up(self):
        async def main():
            workers = Workers(1)
            try:
                assert await workers.run(abs, -1) == 1
                with pytest.raises(HTTPException) as error:
                    await workers.run(sum, range(10**12))
                assert error.value.detail == "decoding takes more than 1 s, or too much memory"
                assert await workers.run(abs, -2) == 2
            finally:
                workers.end()

        asyncio.run(main())

    def test_bodies_that_are_long_are_decoded_in_a_worker(self):
        async def main():
            service, beats = Service(Limits()), []

            async def beat():
                while True:
                    beats.append(time.perf_counter())
                    await asyncio.sleep(0.01)

            preparation = Preparation((300, 300, 3), "crop")
            model = SimpleNamespace(preparation=preparation, task=SimpleNamespace(is_dense=False))
            images = np.random.default_rng(0).integers(0, 256, (4, 300, 300, 3), np.uint8)
            body = json.dumps({"instances": images.tolist()}).encode()
            await service.workers.run(abs, 1)  # its start is not measured
            heart = asyncio.create_task(beat())
            form, found = await service.decoded(tensorflow_serving.parse, model, body)
            with pytest.raises(HTTPException) as error:
                await service.decoded(tensorflow_serving.parse, model, body[:-1])
            heart.cancel()
            service.workers.end()
            assert form == "instances" and (found == images).all()
            assert error.value.status_code == 400
            return max(np.diff(beats))

        assert asyncio.run(main()) < 0.3 * slowdown()

    def test_others_are_answered_between_short_requests(self):
        async def main():
            service, beats, done = Service(Limits()), [time.perf_counter()], []
            preparation = Preparation((1, 1, 1), "crop")
            model = SimpleNamespace(preparation=preparation, task=SimpleNamespace(is_dense=False))

            async def beat():
                while True:
                    await asyncio.sleep(0)
                    beats.append(time.perf_counter())

            def decode(content, target, number):
                time.sleep(0.004)
                done.append(number)

            heart = asyncio.create_task(beat())
            await asyncio.gather(*(service.decoded(decode, model, b"", number) for number in range(100)))
            heart.cancel()
            assert done == sorted(done)
            return max(np.diff(beats))

        assert asyncio.run(main()) < 0.1 * slowdown()

    def test_pixels_of_all_scans_are_bounded(self, monkeypatch):
        target, photo = (
            decoding.Target(Preparation((8, 8, 3), "crop"), False, 8, 2**25),
            saved(NOISE, "JPEG", progressive=True),
        )
        assert decoding.photo(photo, target)[0].image.shape == (8, 8, 3)
        monkeypatch.setattr(decoding, "MAX_SCANNED", 5 * NOISE.width * NOISE.height)
        with pytest.raises(HTTPException, match="scans of 30×40 pixels") as error:
            decoding.photo(photo, target)
        assert error.value.status_code == 413

    def test_photos_are_decoded_here_if_they_are_small(self):
        target = decoding.Target(Preparation((8, 8, 3), "crop"), False, 8, 2**25)
        large = saved(Image.new("RGB", (400, 300)), "PNG")
        with pytest.raises(decoding.Long):
            decoding.photo(large, target.here)
        assert decoding.photo(large, target)[0].image.shape == (8, 8, 3)
        for options in ({}, {"progressive": True}):
            photo = saved(NOISE, "JPEG", **options)
            with pytest.raises(decoding.Long) if options else contextlib.nullcontext():
                decoding.photo(photo, target.here)
        assert decoding.photo(saved(NOISE, "PNG"), target.here)[0].image.shape == (8, 8, 3)


class TestAnswers:
    @pytest.mark.parametrize("shape", [(2, 3), (1, 5000), (3, 70, 80), (5000,)])
    def test_json_in_parts_is_the_same(self, shape):
        values = np.random.default_rng(0).random(shape, np.float32)
        assert json.loads(encoding.array(values)) == values.tolist()
        assert json.loads(encoding.rows({"a": values, "b": values})) == [
            {"a": row, "b": row} for row in values.tolist()
        ]

    def test_sent_as_fast_as_it_is_read(self):
        service, sent = Service(Limits(max_body=2**16)), []

        async def send(message):
            sent.append(message)

        async def main(size: int) -> None:
            answer = Answer(send, service, [(b"x-request-id", b"1")])
            await answer.send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]}
            )
            await answer.send({"type": "http.response.body", "body": bytes(size)})
            assert answer.size == size

        for size in (0, 1, PART, PART + 1, 3 * PART):
            sent.clear()
            asyncio.run(main(size))
            assert [len(message["body"]) for message in sent[1:]] == [PART] * max(0, -(-size // PART) - 1) + [
                size - PART * max(0, -(-size // PART) - 1)
            ]
            assert [message.get("more_body", False) for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
        with pytest.raises(HTTPException) as error:
            asyncio.run(main(2**21))
        assert error.value.status_code == 503


def test_access_log(capsys):
    log = AccessLog()
    log.add(
        {"client": ("10.0.0.1", 1), "method": "POST", "path": "/predict", "query_string": b"secret"},
        "7",
        200,
        0.5,
        9,
        8,
    )
    log.flush()
    line = json.loads(capsys.readouterr().out)
    assert line.pop("time").endswith("Z")
    expected = {"id": "7", "client": "10.0.0.1", "method": "POST", "path": "/predict", "status": 200, "seconds": 0.5}
    assert line == {**expected, "bytes_received": 9, "bytes_sent": 8}

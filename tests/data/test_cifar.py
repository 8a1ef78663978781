"""CIFAR: the forms that it comes in, and files that are not what they should be."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cifar.data import cifar
from cifar.files import safe_io
from cifar.runtime.errors import InputError
from helpers.data_files import batch, build, parts, refused, write_archive, write_binary, write_npz, write_pickled

CIFARS = pytest.mark.parametrize("version", [cifar.CIFAR10, cifar.CIFAR100], ids=lambda version: version.name)


@CIFARS
def test_every_form_holds_the_same(version, tmp_path):
    pickled, binary = write_pickled(tmp_path / "a", version), write_binary(tmp_path / "b", version)
    paths = [pickled, pickled.parent, binary, binary.parent, write_archive(tmp_path, version),
             write_npz(tmp_path, version)]  # fmt: skip
    datasets = [build(version.name, path, val_fraction=0.5) for path in paths]
    assert len({dataset.fingerprint for dataset in datasets}) == 1
    images, labels = list(parts(version))[-1]
    assert np.array_equal(datasets[0].test.images, images)
    assert np.array_equal(datasets[0].test.targets["label"], labels)
    assert len(datasets[0].class_names) == len(set(datasets[0].class_names)) == {"10": 10, "00": 100}[version.name[-2:]]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_python_3_are_read(protocol, order, tmp_path):
    folder = write_pickled(tmp_path, cifar.CIFAR10)
    expected = build("cifar10", folder).fingerprint
    content = batch(*next(iter(parts(cifar.CIFAR10))), cifar.CIFAR10)
    content = {key.decode(): np.asarray(value, order=order) if key == b"data" else value
               for key, value in content.items()}  # fmt: skip
    (folder / "data_batch_1").write_bytes(pickle.dumps(content, protocol))
    assert build("cifar10", folder).fingerprint == expected


def test_home_is_expanded(tmp_path, monkeypatch):
    write_pickled(tmp_path, cifar.CIFAR10)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build("cifar10", "~").name == "cifar10"


class Attack:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def test_pickle_runs_nothing(tmp_path):
    folder = write_pickled(tmp_path, cifar.CIFAR10)
    (folder / "data_batch_2").write_bytes(pickle.dumps({"data": Attack(tmp_path / "owned")}, 2))
    message = refused("cifar10", folder)
    assert "data_batch_2" in message and "system, which is forbidden" in message
    assert not (tmp_path / "owned").exists()


HOSTILE_PICKLES = {
    "memo index": b"\x80\x02Nr\xff\xff\xff\xff.",
    "bytearray": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".",
    "nested key": b"\x80\x02}K\x01" + b"\x85" * 500_000 + b"K\x01s.",
    "nested objects": b"\x80\x02cnumpy\nndarray\n" + b")R" * 200_000 + b".",
    "array in an array": b"\x80\x02cnumpy\nndarray\n(tR.",
    "arguments of a long string": b"\x80\x02cnumpy\nndarray\n" + b"X\x40\x42\x0f\x00" + b"a" * 1_000_000 + b"R.",
    "class as an object": b"\x80\x02cnumpy\nndarray\n}b.",
    "state of an odd kind": b"\x80\x02cnumpy\nndarray\n)RK\x01b.",
    "extension": b"\x80\x02\x82\x01.",
    "empty": b"",
    "list": b"\x80\x02].",
    "text": b"<html>404 Not Found</html>",
    "recursive": b"\x80\x02}q\x00U\x04datah\x00s.",
}


@pytest.mark.parametrize("content", HOSTILE_PICKLES.values(), ids=HOSTILE_PICKLES)
def test_hostile_pickle(content, tmp_path):
    folder = write_pickled(tmp_path, cifar.CIFAR10)
    (folder / "test_batch").write_bytes(content)
    assert "test_batch" in refused("cifar10", folder)


GOOD = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}
WRONG_BATCHES = {
    "'labels' is missing": {b"data": GOOD[b"data"]},
    "'data' is missing": {b"labels": [0, 1]},
    r"shape \(2, 3071\)": {**GOOD, b"data": np.zeros((2, 3071), np.uint8)},
    r"shape \(6144,\)": {**GOOD, b"data": np.zeros(6144, np.uint8)},
    "not uint8": {**GOOD, b"data": np.zeros((2, 3072), np.int8)},
    "list where an array": {**GOOD, b"data": [0] * 6144},
    "2 images but 3 labels": {**GOOD, b"labels": [0, 1, 2]},
    "label 10 of image 1 is out of range": {**GOOD, b"labels": [0, 10]},
    "label -1 of image 0 is out of range": {**GOOD, b"labels": [-1, 0]},
    "OverflowError": {**GOOD, b"labels": [0, 2**70]},
    "not a list of integers": {**GOOD, b"labels": [0, "1"]},
    "not a list": {**GOOD, b"labels": {}},
}


@pytest.mark.parametrize("expected", WRONG_BATCHES)
def test_wrong_batch(expected, tmp_path):
    folder = write_pickled(tmp_path, cifar.CIFAR10)
    (folder / "data_batch_3").write_bytes(pickle.dumps(WRONG_BATCHES[expected], 4))
    with pytest.raises(InputError, match=f"data_batch_3: .*{expected}"):
        build("cifar10", folder)


def test_array_state_that_lies_about_its_size(tmp_path):
    folder = write_pickled(tmp_path, cifar.CIFAR10)
    file = folder / "data_batch_1"
    small, large = ((rows).to_bytes(4, "little") + b"J\x00\x0c\x00\x00" for rows in (20, 2**30))
    assert small in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(small, large))
    assert "data_batch_1" in refused("cifar10", folder)


@CIFARS
def test_wrong_binary(version, tmp_path):
    folder = write_binary(tmp_path, version)
    file = folder / version.binary.test
    whole = file.read_bytes()
    for content, expected in ((whole[:-1], "accepted: a multiple of 307"), (b"", "accepted: a multiple of 307"),
                              (b"\xff" * len(whole), "label 255 of image 0")):  # fmt: skip
        file.write_bytes(content)
        assert expected in refused(version.name, folder)
    file.unlink()
    assert f"{version.binary.test} is missing" in refused(version.name, folder)


WRONG_ARRAYS = {
    "'y_test' is missing": {"y_test": None},
    "x_train is float64 (100, 32, 32, 3)": {"x_train": np.zeros((100, 32, 32, 3))},
    "x_test is uint8 (20, 3, 32, 32)": {"x_test": np.zeros((20, 3, 32, 32), np.uint8)},
    "Object arrays": {"x_train": np.array([Attack(Path("/dev/null"))], object)},
    "labels are float64": {"y_train": np.zeros(100)},
    "20 images but 21 labels": {"y_test": np.zeros(21, np.int64)},
    "label 18446744073709551615 of image 0": {"y_test": np.full(20, 2**64 - 1, np.uint64)},
    "no test images": {"x_test": np.zeros((0, 32, 32, 3), np.uint8), "y_test": np.zeros(0, np.int64)},
    "'airplane' has 0 images": {"y_train": np.arange(100) % 9 + 1},
}


@pytest.mark.parametrize("expected", WRONG_ARRAYS)
def test_wrong_npz(expected, tmp_path):
    assert expected in refused("cifar10", write_npz(tmp_path, cifar.CIFAR10, **WRONG_ARRAYS[expected]))


def test_npz_that_declares_a_huge_array(tmp_path):
    path = tmp_path / "data.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**50,)})
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", header.getvalue())
    assert str(path) in refused("cifar10", path)


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_io, "LIMIT", 2**20)
    tar = tmp_path / "bomb.tar.gz"
    with gzip.open(tar, "wb") as file:
        file.write(tarfile.TarInfo("other").tobuf() + bytes(2**21))
    assert "unpacks to more" in refused("cifar10", tar)
    with tarfile.open(tar, "w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        member.size = 2**21
        archive.addfile(member, io.BytesIO(bytes(2**21)))
    assert "declares 2097152 bytes" in refused("cifar10", tar)
    npz = tmp_path / "bomb.npz"
    np.savez_compressed(npz, x_train=np.zeros(2**21, np.uint8))
    assert "unpacks to more" in refused("cifar10", npz)
    folder = write_pickled(tmp_path, cifar.CIFAR10)
    (folder / "test_batch").write_bytes(bytes(2**21))
    assert "more than 1048576 bytes" in refused("cifar10", folder)


def test_wrong_path(tmp_path):
    assert "no such file" in refused("cifar10", tmp_path / "nothing")
    assert "contains no CIFAR data" in refused("cifar10", tmp_path)
    (tmp_path / "data.zip").write_bytes(b"")
    assert "contains no CIFAR data" in refused("cifar10", tmp_path / "data.zip")
    assert "is missing" in refused("cifar100", write_archive(tmp_path, cifar.CIFAR10))
    folder = write_pickled(tmp_path, cifar.CIFAR100)
    (folder / "train").unlink()
    assert "cifar-100-python/train is missing" in refused("cifar100", folder)


def test_damaged_archive(tmp_path):
    """Cut short or altered anywhere, an archive is read as it was or refused: nothing else."""
    path = write_archive(tmp_path, cifar.CIFAR10)
    whole = path.read_bytes()
    expected = build("cifar10", path).fingerprint
    random = np.random.default_rng(0)
    offsets = [*range(40), *random.integers(0, len(whole), 200), *range(len(whole) - 20, len(whole))]
    for offset in map(int, offsets):
        altered = bytearray(whole)
        altered[offset] ^= int(random.integers(1, 256))
        for content in (whole[:offset], bytes(altered)):
            path.write_bytes(content)
            with contextlib.suppress(InputError):
                assert build("cifar10", path).fingerprint == expected


@pytest.mark.parametrize("form", ["pickled", "npz", "tar"])
def test_damaged_content(form, tmp_path):
    """The same where no checksum guards the content: any other exception than `InputError` would fail this."""
    if form == "npz":
        path = file = write_npz(tmp_path, cifar.CIFAR10)
    elif form == "pickled":
        path = write_pickled(tmp_path, cifar.CIFAR10)
        file = path / "data_batch_1"
    else:
        path = file = write_archive(tmp_path, cifar.CIFAR10)
    whole = file.read_bytes() if form != "tar" else gzip.decompress(file.read_bytes())
    random = np.random.default_rng(0)
    for offset in (*range(0, 600, 4), *map(int, random.integers(0, len(whole), 40))):
        altered = bytearray(whole)
        altered[offset] = int(random.integers(0, 256))
        content = bytes(altered) if offset % 3 else whole[:offset]
        file.write_bytes(gzip.compress(content, 1) if form == "tar" else content)
        with contextlib.suppress(InputError):
            build("cifar10", path)

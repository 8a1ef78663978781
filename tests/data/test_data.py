"""Data sets: what they hold, where their splits are cut, and that no file can do worse than an `InputError`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from omegaconf import OmegaConf
from PIL import Image

from cifar.config.registry import DATASETS
from cifar.data import cifar, download
from cifar.data.corruptions import KINDS
from cifar.data.splits import stratified_split, subset
from cifar.files import safe_io
from cifar.runtime.errors import InputError
from helpers.annotated_files import WRITERS
from helpers.runs import composed

CIFARS = pytest.mark.parametrize("version", [cifar.CIFAR10, cifar.CIFAR100], ids=lambda version: version.name)


def parts(version, *, each=2, seed=0):
    """(images (n, 32, 32, 3), labels) of each file of `version`, training first: every class `each` times in each."""
    random = np.random.default_rng(seed)
    labels = np.arange(len(version.class_names)).repeat(each)
    for _ in (*version.pickled.train, version.pickled.test):
        yield random.integers(0, 256, (len(labels), 32, 32, 3), np.uint8), random.permutation(labels)


def batch(images, labels, version) -> dict:
    data = images.transpose(0, 3, 1, 2).reshape(len(images), -1).copy()
    return {b"batch_label": b"a batch", version.label_key.encode(): labels.tolist(), b"data": data}


def python2_pickle(batch: dict) -> bytes:
    """`batch` as cPickle of Python 2 wrote it: byte strings as BINSTRING, which Python 3 writes no more."""

    def string(text: bytes) -> bytes:
        return b"T" + len(text).to_bytes(4, "little") + text

    out = [b"\x80\x02}("]
    for key, value in batch.items():
        out.append(string(key))
        if isinstance(value, bytes):
            out.append(string(value))
        elif isinstance(value, list):
            out.append(b"](" + b"".join(b"K" + bytes([item]) for item in value) + b"e")
        else:
            shape = b"".join(b"J" + size.to_bytes(4, "little") for size in value.shape)
            out.append(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + string(b"b") + b"\x87R")
            out.append(b"(K\x01" + shape + (b"\x86" if value.ndim == 2 else b"\x85"))
            out.append(b"cnumpy\ndtype\n" + string(b"u1") + b"K\x00K\x01\x87R(K\x03" + string(b"|") + b"NNN")
            out.append(b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb" + b"\x89" + string(value.tobytes()) + b"tb")
    return b"".join((*out, b"u."))


def write_pickled(root, version, **options) -> Path:
    folder = root / version.pickled.folder
    folder.mkdir(parents=True)
    for name, part in zip((*version.pickled.train, version.pickled.test), parts(version, **options), strict=True):
        (folder / name).write_bytes(python2_pickle(batch(*part, version)))
    return folder


def write_archive(root, version, **options) -> Path:
    folder = write_pickled(root / "extracted", version, **options)
    path = root / version.url.rsplit("/", 1)[-1]
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


def write_binary(root, version) -> Path:
    folder = root / version.binary.folder
    folder.mkdir(parents=True)
    for name, (images, labels) in zip((*version.binary.train, version.binary.test), parts(version), strict=True):
        head = np.zeros((len(labels), version.label_bytes), np.uint8)
        head[:, -1] = labels
        records = np.concatenate([head, images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1)
        (folder / name).write_bytes(records.tobytes())
    return folder


def write_npz(root, version, **replaced) -> Path:
    *train, (x_test, y_test) = parts(version)
    x_train, y_train = (np.concatenate(pieces) for pieces in zip(*train, strict=True))
    path = root / "data.npz"
    content = {"x_train": x_train, "y_train": y_train[:, None], "x_test": x_test, "y_test": y_test, **replaced}
    np.savez(path, **{name: array for name, array in content.items() if array is not None})
    return path


def write_folder(root) -> Path:
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for label, name in enumerate(("ant", "bee", "cow")):
            folder = root / "insects" / part / name
            folder.mkdir(parents=True)
            for i in range(4):
                pixels = random.integers(0, 80, (20 + label, 30, 3), np.uint8) + 80 * np.uint8(label)
                Image.fromarray(pixels).save(folder / f"{i}.{('png', 'jpg', 'JPEG')[i % 3]}")
    return root / "insects"


def write_cifar10_1(root) -> Path:
    random = np.random.default_rng(1)
    for version, size in (("v4", 21), ("v6", 20)):
        np.save(root / f"cifar10.1_{version}_data.npy", random.integers(0, 256, (size, 32, 32, 3), np.uint8))
        np.save(root / f"cifar10.1_{version}_labels.npy", np.arange(size, dtype=np.int32) % 10)
    return root


def write_cifar10_c(root) -> Path:
    """20 images at each severity; all pixels of severity s of kind k are 10 k + s."""
    for number, kind in enumerate(KINDS):
        severities = np.repeat(np.arange(1, 6), 20) + 10 * number
        np.save(
            root / f"{kind}.npy", np.broadcast_to(severities[:, None, None, None], (100, 32, 32, 3)).astype(np.uint8)
        )
    np.save(root / "labels.npy", np.tile(np.arange(20) % 10, 5).astype(np.uint8))
    return root


def write_soft(root) -> Path:
    """Counts of answers for the test images that `write_pickled` writes: 46 for the label, 5 for the next class."""
    *_, (images, labels) = parts(cifar.CIFAR10)
    counts = 46 * np.eye(10, dtype=int)[labels] + 5 * np.eye(10, dtype=int)[(labels + 1) % 10]
    assert len(images) == len(counts)
    np.save(root / "cifar10h-counts.npy", counts)
    return root / "cifar10h-counts.npy"


def build(name, path, **settings):
    settings = {"name": name, "path": str(path), "val_fraction": 0.25, "limit": None, **settings}
    return DATASETS.build(settings, seed=settings.pop("seed", 0))


def refused(*args, **settings) -> str:
    """The message of the `InputError` that `build` raises: one line."""
    with pytest.raises(InputError) as caught:
        build(*args, **settings)
    message = str(caught.value)
    assert "\n" not in message and "accepted" in message
    return message


@pytest.fixture
def settings(request, tmp_path):
    """The settings of `name`'s YAML, with a small source."""
    name = request.getfixturevalue("name")
    found = stated(name)
    if name == "scenes":
        return {**found, "source": stated("digits"), "num_train": 30, "num_val": 20, "num_test": 20}
    sources = {"cifar10": lambda: write_pickled(tmp_path, cifar.CIFAR10),
               "cifar100": lambda: write_archive(tmp_path, cifar.CIFAR100, each=10),
               "folder": lambda: write_folder(tmp_path),
               "cifar10_1": lambda: write_cifar10_1(tmp_path),
               "cifar10_c": lambda: write_cifar10_c(tmp_path),
               "cifar10h": lambda: write_pickled(tmp_path, cifar.CIFAR10),
               **{kind: functools.partial(write, tmp_path) for kind, write in WRITERS.items()}}  # fmt: skip
    if name in sources:
        found["path"] = str(sources[name]())
    more = {"cifar10_c": {"corruption": "fog", "severity": 2}, "cifar10h": {"soft_labels": str(write_soft(tmp_path))}}
    return {**found, **({"val_fraction": 0.25} if "val_fraction" in found else {}), **more.get(name, {})}


def stated(name) -> dict:
    """The settings that `data=name` composes."""
    return OmegaConf.to_container(composed(f"data={name}").data)


def unique(split) -> set[bytes]:
    return {image.tobytes() for image in split.images}


# Every data set


@pytest.mark.parametrize("name", DATASETS.names())
def test_yaml_states_every_setting(name):
    found = stated(name)
    assert set(found) == {"name", *DATASETS.record(name).model_fields}
    assert found["name"] == name


TEST_ONLY = ("cifar10_1", "cifar10_c", "cifar10h")


@pytest.mark.parametrize("name", [name for name in DATASETS.names() if name not in TEST_ONLY])
def test_builds(name, settings):
    dataset = DATASETS.build(settings, seed=0)
    for split in (dataset.train, dataset.val, dataset.test):
        assert len(split) and split.images.shape[1:] == dataset.image_shape
        assert split.images.flags.c_contiguous
        if "label" in split.targets:
            label = split.targets["label"]
            assert label.dtype == np.int64 and label.shape == (len(split),)
            assert label.min() >= 0 and label.max() < len(dataset.class_names)
    assert unique(dataset.train).isdisjoint(unique(dataset.test))
    assert unique(dataset.train).isdisjoint(unique(dataset.val))
    assert DATASETS.build(settings, seed=0).fingerprint == dataset.fingerprint
    other = DATASETS.build(settings, seed=1)
    assert other.fingerprint != dataset.fingerprint
    assert other.test_fingerprint == dataset.test_fingerprint
    assert np.array_equal(other.test.images, dataset.test.images)
    if name != "scenes":  # each seed composes its own
        assert unique(other.train) | unique(other.val) == unique(dataset.train) | unique(dataset.val)


@pytest.mark.parametrize("name", TEST_ONLY)
def test_has_test_images_only(name, settings):
    dataset = DATASETS.build(settings, seed=0)
    assert (len(dataset.train), len(dataset.val), dataset.image_shape) == (0, 0, (32, 32, 3))
    assert len(dataset.test) and dataset.test.images.flags.c_contiguous and dataset.class_names[0] == "airplane"
    assert dataset.test.targets["label"].dtype == np.int64
    assert DATASETS.build(settings, seed=0).fingerprint == dataset.fingerprint
    assert len(DATASETS.build({**settings, "limit": 10}, seed=0).test) == 10
    with pytest.raises(InputError, match=rf"^data={name}: has test images only; `.* evaluate RUN data={name}`"):
        dataset.require_targets("label")


@pytest.mark.parametrize("name", [name for name in DATASETS.names() if "val_fraction" in stated(name)])
def test_limit(name, settings):
    whole = DATASETS.build(settings, seed=0)
    limit = 4 * len(whole.class_names)
    dataset = DATASETS.build({**settings, "limit": limit, "val_fraction": 0.25}, seed=0)
    assert len(dataset.train) + len(dataset.val) <= limit and len(dataset.test) <= limit
    assert unique(dataset.train) <= unique(whole.train) | unique(whole.val)
    assert unique(dataset.test) <= unique(whole.test)


def test_importing_the_builders_loads_no_heavy_library():
    code = "import sys; from cifar.config.registry import DATASETS; DATASETS.names(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "keras", "sklearn", "PIL", "matplotlib"} & set(loaded)


# Splits

LABELS = arrays.arrays(np.int64, st.integers(20, 200), elements=st.integers(0, 4)).map(
    lambda labels: np.concatenate([labels, np.arange(5).repeat(4)])
)


@given(LABELS, st.floats(0.15, 0.85), st.integers(0, 2**32))
def test_cut_is_stratified(labels, fraction, seed):
    rest, cut = stratified_split(labels, fraction, seed, "abcde", "data.val_fraction")
    assert np.array_equal(np.sort(np.concatenate([rest, cut])), np.arange(len(labels)))
    assert (np.diff(rest) > 0).all() and (np.diff(cut) > 0).all()
    counts = np.bincount(labels)
    assert (np.abs(np.bincount(labels[cut]) - counts * fraction) < 1).all()
    again = stratified_split(labels, fraction, seed, "abcde", "data.val_fraction")
    assert np.array_equal(rest, again[0]) and np.array_equal(cut, again[1])


def test_cut_depends_on_the_seed_and_on_nothing_else():
    labels = np.arange(12) % 2
    cut = [stratified_split(labels, 0.5, seed, "ab", "data.val_fraction")[1].tolist() for seed in range(3)]
    assert cut == [[1, 2, 3, 6, 8, 11], [0, 2, 4, 5, 7, 9], [0, 3, 6, 7, 8, 11]]


@pytest.mark.parametrize(("fraction", "count"), [(0.04, 10), (0.96, 10), (0.5, 1)])
def test_cut_refuses_empty_parts(fraction, count):
    labels = np.array([0] * 100 + [1] * count)
    with pytest.raises(InputError, match=f"data.val_fraction={fraction}: .*class 'b'.* {count} images.*accepted"):
        stratified_split(labels, fraction, 0, "ab", "data.val_fraction")


@given(LABELS, st.integers(1, 300))
def test_subset_keeps_the_proportions_and_lies_in_the_larger_one(labels, limit):
    kept = subset(labels, limit)
    assert len(kept) == min(limit, len(labels)) and (np.diff(kept) > 0).all()
    assert set(kept) <= set(subset(labels, limit + 1))
    counts, taken = np.bincount(labels), np.bincount(labels[kept], minlength=5)
    left = taken < counts
    if left.any():  # no class is ahead of another by more than one image
        assert ((taken - 0.5) / counts).max() <= ((taken + 0.5) / counts)[left].min()


def test_digits_test_split_is_stratified():
    dataset = DATASETS.build({"name": "digits", "test_fraction": 0.2, "val_fraction": 0.1, "limit": None}, seed=3)
    assert dataset.image_shape == (8, 8, 1) and dataset.test.images.max() == 255
    sizes = [len(split) for split in (dataset.train, dataset.val, dataset.test)]
    assert sum(sizes) == 1797 and abs(sizes[2] - 359) <= 5 and abs(sizes[1] - 144) <= 5


# CIFAR: the forms it comes in


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


# CIFAR: files that are not what they should be


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


# CIFAR: the download


class Site(http.server.BaseHTTPRequestHandler):
    """Answers every request with `content`, of which `sent` bytes come; `on_half` is called after half of them."""

    content, sent = b"", None
    on_half: Callable[[], None] = staticmethod(lambda: None)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        half = len(self.content) // 2
        self.wfile.write(self.content[:half])
        self.on_half()
        with contextlib.suppress(OSError):  # of a client that has gone
            self.wfile.write(self.content[half : self.sent])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[type[Site]]:
    """A server on the loopback that stands for the published one; the cache is a folder of its own."""
    archive = write_archive(tmp_path / "site", cifar.CIFAR10)
    own = type("OwnSite", (Site,), {"content": archive.read_bytes()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), own) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        own.stop = staticmethod(lambda: (server.shutdown(), server.server_close()))
        version = dataclasses.replace(cifar.CIFAR10, url=f"http://127.0.0.1:{server.server_port}/{archive.name}",
                                      sha256=hashlib.sha256(own.content).hexdigest())  # fmt: skip
        monkeypatch.setattr(cifar, "CIFAR10", version)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield own
        own.stop()


def load(**settings):
    return DATASETS.build({"name": "cifar10", "path": None, "val_fraction": 0.25, "limit": None, **settings}, seed=0)


def cached_files() -> list[str]:
    return sorted(path.name for path in download.cache_folder().glob("*"))


def refused_download() -> str:
    """The line that a download is refused with, which leaves nothing in the cache."""
    with pytest.raises(InputError) as caught:
        load()
    assert cached_files() == []
    message = str(caught.value)
    assert message.startswith(f"{cifar.CIFAR10.url}: cannot be downloaded (") and "\n" not in message
    assert str(download.cache_folder() / "cifar-10-python.tar.gz") in message and "data.path" in message
    return message


def test_download_happens_once(site, tmp_path, capfd):
    expected = build("cifar10", tmp_path / "site" / "cifar-10-python.tar.gz").fingerprint
    assert load().fingerprint == expected
    (line,) = capfd.readouterr().err.splitlines()
    assert cifar.CIFAR10.url in line
    site.stop()
    assert load().fingerprint == expected
    assert cached_files() == ["cifar-10-python.tar.gz"]
    assert capfd.readouterr().err == ""


def test_download_with_wrong_hash_leaves_nothing(site):
    wrong = site.content[:-1] + b"x"
    site.content = wrong
    assert hashlib.sha256(wrong).hexdigest() in refused_download()


def test_cached_file_with_wrong_hash_is_not_overwritten(site):
    load()
    cached = download.cache_folder() / "cifar-10-python.tar.gz"
    cached.write_bytes(b"another file")
    with pytest.raises(InputError, match=f"not the published {cifar.CIFAR10.sha256}; delete it to download it again"):
        load()
    assert cached.read_bytes() == b"another file"


def test_download_offline_says_what_to_do(site):
    site.stop()
    assert "refused" in refused_download()


def test_truncated_download_leaves_nothing(site):
    site.sent = -1
    assert "1 more expected" in refused_download()


def test_download_without_space_leaves_nothing(site):
    bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, bounds[1]))
    try:
        assert "File too large" in refused_download()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, bounds)


def test_download_has_a_limit(site, monkeypatch):
    monkeypatch.setattr(download, "LIMIT", len(site.content) - 1)
    assert f"more than {len(site.content) - 1} bytes" in refused_download()


def test_interrupted_download_leaves_nothing(site):
    site.on_half = staticmethod(lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        load()
    assert cached_files() == []


def test_unusable_cache_folder(site, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    refused_download()


# Folder


def folder_of(path, **settings):
    return build("folder", path, size=16, **settings)


def test_folder_reads_classes_in_order(tmp_path):
    root = write_folder(tmp_path)
    (root / "train" / "ant" / "notes.txt").write_text("no image")
    dataset = folder_of(root)
    assert dataset.name == "insects" and dataset.class_names == ("ant", "bee", "cow")
    assert dataset.image_shape == (16, 16, 3)
    # Class `label` is filled with 80 * label to 80 * label + 79.
    assert (dataset.test.images.mean(axis=(1, 2, 3)) // 80).tolist() == dataset.test.targets["label"].tolist()


def test_folder_cuts_the_center(tmp_path):
    root = write_folder(tmp_path)
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = 255
    for mode in ("RGB", "L", "P", "RGBA"):
        Image.fromarray(pixels).convert(mode).save(root / "test" / "ant" / "0.png")
        assert folder_of(root).test.images[0, :, 1:-1].min() >= 250


def test_folder_errors(tmp_path):
    assert "nowhere/train" in refused("folder", tmp_path / "nowhere", size=8)
    (tmp_path / "train").mkdir()
    assert "contains no class folders" in refused("folder", tmp_path, size=8)
    root = write_folder(tmp_path)
    (root / "test" / "bees").mkdir()
    with pytest.raises(InputError, match="test/bees: class missing in train; did you mean 'bee'"):
        folder_of(root)
    (root / "test" / "bees").rmdir()
    (root / "train" / "dog").mkdir()
    assert "'dog' has 0 images" in refused("folder", root, size=8)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "bomb", "sixteen bits", "postscript"])
def test_folder_names_the_unreadable_image(damage, tmp_path, monkeypatch):
    root = write_folder(tmp_path)
    file = root / "train" / "bee" / "0.png"
    if damage == "bomb":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30 * 22)
        Image.new("RGB", (30, 23)).save(file)
    elif damage == "sixteen bits":
        Image.fromarray(np.zeros((20, 20), np.uint16)).save(file)
    else:
        content = {"truncated": file.read_bytes()[:500], "empty": b"", "text": b"no image",
                   "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"}  # fmt: skip
        file.write_bytes(content[damage])
    assert str(file) in refused("folder", root, size=8)


# Test images for models of CIFAR-10


def test_versions_of_cifar10_1(tmp_path):
    path = str(write_cifar10_1(tmp_path))
    sizes = [len(DATASETS.build({"name": "cifar10_1", "path": path, "version": version, "limit": None}).test)
             for version in ("v4", "v6")]  # fmt: skip
    assert sizes == [21, 20]
    (tmp_path / "cifar10.1_v6_labels.npy").unlink()
    with pytest.raises(InputError, match=r"labels\.npy: no such file; accepted for data\.path: a folder with cifar10"):
        DATASETS.build({"name": "cifar10_1", "path": path, "version": "v6", "limit": None})


def test_severities_of_cifar10_c_follow_each_other_in_a_file(tmp_path):
    path = str(write_cifar10_c(tmp_path))
    for kind, severity in (("gaussian_noise", 1), ("jpeg_compression", 5)):
        stated = {"name": "cifar10_c", "path": path, "corruption": kind, "severity": severity, "limit": None}
        dataset = DATASETS.build(stated)
        assert np.unique(dataset.test.images).tolist() == [10 * KINDS.index(kind) + severity]
        assert dataset.test.targets["label"].tolist() == (np.arange(20) % 10).tolist()
    for missing in ("corruption", "severity"):
        with pytest.raises(InputError, match=rf"^data\.{missing}: null stands for all"):
            DATASETS.build({**stated, missing: None})
    np.save(tmp_path / "fog.npy", np.zeros((99, 32, 32, 3), np.uint8))
    with pytest.raises(InputError, match=r"fog\.npy has 99 images, labels\.npy 100 labels"):
        DATASETS.build({**stated, "corruption": "fog"})


def test_people_s_answers_are_shares_and_must_be_about_these_images(tmp_path):
    stated = {"name": "cifar10h", "path": str(write_pickled(tmp_path, cifar.CIFAR10)), "limit": None}
    source = write_soft(tmp_path)
    test = DATASETS.build({**stated, "soft_labels": str(source)}).test
    shares, labels = test.targets["soft_label"], test.targets["label"]
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(shares[np.arange(len(labels)), labels], 46 / 51, rtol=1e-6)
    np.save(source, np.roll(np.load(source), 1, axis=1))
    with pytest.raises(InputError, match="people agree with the label of 0 % of the images"):
        DATASETS.build({**stated, "soft_labels": str(source)})
    np.save(source, np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"counts\.npy: cannot be read .* accepted: floats or counts \(\d+, 10\)"):
        DATASETS.build({**stated, "soft_labels": str(source)})

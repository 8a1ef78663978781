"""Small files of CIFAR and its relatives in their published forms, and folders of images."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifar.config.registry import DATASETS
from cifar.data import cifar
from cifar.data.corruptions import KINDS
from cifar.runtime.errors import InputError


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


def write_table(root) -> Path:
    """The photos of `write_folder` with a table of their labels, which says the split of each."""
    folder = write_folder(root)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = [f"{path.relative_to(folder)},{path.parent.name},{path.parents[1].name}" for path in files]
    (folder / "labels.csv").write_text("\n".join(["file,label,split", *rows]) + "\n")
    return folder


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
    if name == "folder":
        settings.setdefault("reader", 2)
    return DATASETS.build(settings, seed=settings.pop("seed", 0))


def refused(*args, **settings) -> str:
    """The message of the `InputError` that `build` raises: one line."""
    with pytest.raises(InputError) as caught:
        build(*args, **settings)
    message = str(caught.value)
    assert "\n" not in message and "accepted" in message
    return message

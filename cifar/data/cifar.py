"""CIFAR-10 and CIFAR-100: 32×32 color images, 50,000 to train and 10,000 to test.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, Share
from cifar.data.download import cached
from cifar.data.splits import assemble, checked_labels, numbered
from cifar.files.safe_io import npz_arrays, read_file, refusing, tar_members, uint8_array, unpickle
from cifar.interfaces import Dataset, Split
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    Part = tuple[np.ndarray, np.ndarray]
    """Images, uint8 (n, 3, 32, 32), possibly not contiguous, and labels, int64 (n,)."""


@dataclass(frozen=True)
class Layout:
    """One of the two published formats: a folder with files of images."""

    folder: str
    train: tuple[str, ...]
    test: str
    parse: Callable[[bytes, str, Version], Part]

    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.folder}/{file}" for file in (*self.train, self.test))


@dataclass(frozen=True)
class Version:
    """CIFAR-10 or CIFAR-100."""

    name: str
    url: str
    sha256: str
    class_names: tuple[str, ...]
    label_key: str
    """Key of the labels in a pickled batch."""
    label_bytes: int
    """Bytes before an image's pixels in a binary batch; the last one is the label."""
    pickled: Layout
    binary: Layout

    @property
    def accepted(self) -> str:
        return (
            f"the folder {self.pickled.folder} or {self.binary.folder} or its parent, "
            f"{self.url.rsplit('/', 1)[-1]}, or an .npz of x_train, y_train, x_test, y_test"
        )


@DATASETS.register
def cifar10(seed: int, *, path: str | None, val_fraction: Share, limit: PositiveInt | None) -> Dataset:
    """CIFAR-10: 10 classes, images (32, 32, 3).

    `path` is the folder `cifar-10-batches-py` or `cifar-10-batches-bin` or its parent, the `.tar.gz` of the former, or
    an `.npz` with x_train, y_train, x_test, y_test. None stands for the published archive, downloaded once. Raises
    `InputError` for other files.
    """
    return _dataset(CIFAR10, seed, path, val_fraction, limit)


@DATASETS.register
def cifar100(seed: int, *, path: str | None, val_fraction: Share, limit: PositiveInt | None) -> Dataset:
    """CIFAR-100 with its 100 fine labels, images (32, 32, 3).

    Settings and errors are those of `cifar10`.
    """
    return _dataset(CIFAR100, seed, path, val_fraction, limit)


def cifar10_test(path: str | None) -> Split:
    """The test images of CIFAR-10; `path` and errors are those of `cifar10`."""
    return _splits(CIFAR10, path)[1]


def _splits(version: Version, path: str | None) -> tuple[Split, Split]:
    """The training and the test images."""
    source = cached(version.url, version.sha256) if path is None else Path(path).expanduser()
    with refusing(source, version.accepted):
        return _read(source, version)


def _dataset(version: Version, seed: int, path: str | None, val_fraction: float, limit: int | None) -> Dataset:
    train, test = _splits(version, path)
    return assemble(version.name, train, test, version.class_names, seed=seed, val_fraction=val_fraction, limit=limit)


def _read(source: Path, version: Version) -> tuple[Split, Split]:
    """Read the training and the test images at `source`."""
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; accepted for data.path: {version.accepted}")
    if source.name.endswith(".npz"):
        return _read_npz(source, version)
    if source.name.endswith((".tar.gz", ".tgz")):
        return _join(tar_members(source, version.pickled.names()), version.pickled, version, source)
    for layout in (version.pickled, version.binary):
        for folder in (source, source / layout.folder):
            if (folder.name == layout.folder and folder.is_dir()) or (folder / layout.test).is_file():
                return _join(_folder_members(folder, layout), layout, version, source)
    raise InputError(f"{source}: contains no CIFAR data; accepted for data.path: {version.accepted}")


def _folder_members(folder: Path, layout: Layout) -> Iterator[tuple[str, bytes]]:
    for name in layout.names():
        file = folder / Path(name).name
        if file.is_file():
            yield name, read_file(file)


def _join(members: Iterable[tuple[str, bytes]], layout: Layout, version: Version, source: Path) -> tuple[Split, Split]:
    parts = {name: _parse(content, f"{source}: {name}", layout, version) for name, content in members}
    for name in layout.names():
        if name not in parts:
            raise InputError(f"{source}: {name} is missing; accepted: {', '.join(layout.names())}")
    *train, test = (parts[name] for name in layout.names())
    return _split(train, "train"), _split([test], "test")


def _parse(content: bytes, where: str, layout: Layout, version: Version) -> Part:
    with refusing(where, "the published file"):
        images, labels = layout.parse(content, where, version)
        return images, checked_labels(labels, len(images), len(version.class_names), where)


def _split(parts: list[Part], name: str) -> Split:
    images = np.empty((sum(len(labels) for _, labels in parts), 32, 32, 3), np.uint8)
    start = 0
    for planes, labels in parts:
        for channel in range(3):  # four times faster than one transposed copy
            images[start : start + len(labels), ..., channel] = planes[:, channel]
        start += len(labels)
    labels = np.concatenate([labels for _, labels in parts])
    return Split(images, {"label": labels}, numbered(name, len(labels)))


def _parse_pickled(content: bytes, where: str, version: Version) -> Part:
    batch = unpickle(content)
    if not isinstance(batch, dict):
        raise ValueError(f"{type(batch).__name__} instead of a dict")
    batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
    for key in ("data", version.label_key):
        if key not in batch:
            raise InputError(f"{where}: key {key!r} is missing; accepted: a dict with data and {version.label_key}")
    pixels, labels = uint8_array(batch["data"]), batch[version.label_key]
    if pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise InputError(f"{where}: data has shape {pixels.shape}; accepted: uint8 (n, 3072)")
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise InputError(f"{where}: {version.label_key} is not a list of integers; accepted: one integer per image")
    return pixels.reshape(-1, 3, 32, 32), np.array(labels, np.int64)


def _parse_binary(content: bytes, where: str, version: Version) -> Part:
    size = version.label_bytes + 3072
    if not content or len(content) % size:
        raise InputError(f"{where}: size of {len(content)} bytes; accepted: a multiple of {size} bytes, one per image")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    return records[:, version.label_bytes :].reshape(-1, 3, 32, 32), records[:, version.label_bytes - 1]


def _read_npz(source: Path, version: Version) -> tuple[Split, Split]:
    arrays: Any = npz_arrays(source, ("x_train", "y_train", "x_test", "y_test"))
    splits = []
    for part, images, labels in (("train", *arrays[:2]), ("test", *arrays[2:])):
        if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
            raise InputError(f"{source}: x_{part} is {images.dtype} {images.shape}; accepted: uint8 (n, 32, 32, 3)")
        if labels.shape[1:] == (1,):  # as keras.datasets gives them
            labels = labels[:, 0]
        labels = checked_labels(labels, len(images), len(version.class_names), f"{source}: y_{part}")
        splits.append(Split(np.ascontiguousarray(images), {"label": labels}, numbered(part, len(labels))))
    return splits[0], splits[1]


CIFAR10 = Version(
    name="cifar10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    label_key="labels",
    label_bytes=1,
    pickled=Layout("cifar-10-batches-py", tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch", _parse_pickled),
    binary=Layout("cifar-10-batches-bin", tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin",
                  _parse_binary),
)  # fmt: skip
_CLASSES_100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
CIFAR100 = Version(
    name="cifar100",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    class_names=tuple(_CLASSES_100.split()),
    label_key="fine_labels",
    label_bytes=2,
    pickled=Layout("cifar-100-python", ("train",), "test", _parse_pickled),
    binary=Layout("cifar-100-binary", ("train.bin",), "test.bin", _parse_binary),
)

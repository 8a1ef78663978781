"""What the parts hand each other."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    import keras
    import matplotlib.figure


ALIGNMENT = 64
"""Bytes; TensorFlow uses an array that begins at a multiple of it as it is, and copies others."""


def aligned(size: int) -> np.ndarray:
    """An empty uint8 array (size,) that TensorFlow can share."""
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size]


VOID = 255
"""The value of a mask where a pixel has no class: it is neither learned nor evaluated."""


@dataclass(frozen=True)
class Split:
    """Images with their targets.

    `images` is uint8 of shape (n, height, width, channels), 0 to 255. `targets` maps names to arrays whose first axis
    is n, of which a data set has those that its source gives:

    - `label` int64 (n,): the class of the image;
    - `boxes` float32 (n, m, 4): left, top, right, bottom of up to m objects, in pixels from the image's left upper
      corner, so that the right edge of the last pixel is at the image's width; zeros where there is no object;
    - `classes` int64 (n, m): the class of each object, -1 where there is none;
    - `crowd` bool (n, m): objects that neither count nor hurt when boxes are evaluated;
    - `mask` uint8 (n, height, width): of each pixel 0 for background, k + 1 for class k, `VOID` where none can say.
    """

    images: np.ndarray
    targets: Mapping[str, np.ndarray]

    def __post_init__(self):
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images must be uint8 (n, height, width, channels), not {self.images.dtype} {self.images.shape}"
            )
        for name, target in self.targets.items():
            if len(target) != len(self.images):
                raise ValueError(f"{len(self.images)} images but {len(target)} targets {name!r}")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: np.ndarray) -> Split:
        """The images and targets at `index`, an integer array."""
        images = aligned(self.images[0].size * len(index)).reshape(len(index), *self.images.shape[1:])
        np.take(self.images, index, axis=0, out=images, mode="clip")  # the other modes copy once more
        return Split(images, {name: target[index] for name, target in self.targets.items()})


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits of one source, and the names of its classes."""

    name: str
    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]

    @classmethod
    def placeholder(cls, name: str, class_names: Sequence[str], image_shape: Sequence[int]) -> Dataset:
        """One that stands for a data set which is not at hand: each split is a black image of each class.

        It has the targets of every task. A model that is built for it differs from one built for the data in nothing
        but its weights.
        """
        classes = len(class_names)
        targets = {
            "label": np.arange(classes),
            "boxes": np.zeros((classes, 1, 4), np.float32),
            "classes": np.arange(classes)[:, None],
            "crowd": np.zeros((classes, 1), bool),
            "mask": np.zeros((classes, *image_shape[:2]), np.uint8),
        }
        split = Split(np.zeros((classes, *image_shape), np.uint8), targets)
        return cls(name, split, split, split, tuple(class_names))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.train.images.shape[1:]

    @property
    def description(self) -> dict[str, Any]:
        """Name, classes, image shape and sizes of the splits, as JSON holds them."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {
            "name": self.name,
            "class_names": list(self.class_names),
            "image_shape": list(self.image_shape),
            "images": {name: len(split) for name, split in splits.items()},
        }

    def require_targets(self, *targets: str) -> None:
        """Raises `InputError` where a target that a task learns is missing, or training images of a class of labels."""
        for name in targets:
            if name not in self.train.targets:
                raise InputError(
                    f"data={self.name}: its images have no {name}, which this task learns; they have "
                    f"{', '.join(sorted(self.train.targets))}"
                )
        if "label" in targets:
            counts = np.bincount(self.train.targets["label"], minlength=len(self.class_names))
            if missing := [name for name, count in zip(self.class_names, counts, strict=True) if not count]:
                raise InputError(
                    f"data={self.name}: no training images of {', '.join(map(repr, missing))}; accepted: "
                    "at least one of each class"
                )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of class names, images and targets of all splits in their order."""
        return self._sha256(self.train, self.val, self.test)

    @cached_property
    def test_fingerprint(self) -> str:
        """The same of the test split alone: whether runs whose seeds cut the other two otherwise can be compared."""
        return self._sha256(self.test)

    def _sha256(self, *splits: Split) -> str:
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for split in splits:
            for array in (split.images, *(split.targets[name] for name in sorted(split.targets))):
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()


@dataclass
class Evaluation:
    """What a task says of a model's outputs on a split.

    `metrics` maps a metric's name to its value; `tables` maps a file name to its content (a text, a list of rows for a
    `.csv`, or what JSON can hold for a `.json`); `figures` maps a picture's name to a function that draws it; `notes`
    are lines for the user on what the metrics rest on.
    """

    metrics: dict[str, float]
    tables: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Callable[[], matplotlib.figure.Figure]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Task(abc.ABC):
    """What is learned: the head on a backbone, its targets, loss and metrics, and what its outputs mean."""

    metric_names: tuple[str, ...]
    """The names of `metrics()`, known before any of them is built."""

    targets: tuple[str, ...]
    """Which targets of a `Split` it learns."""

    is_dense = True
    """Whether it speaks of places in an image. If not, `encode` gives one float tensor whose weighted means are targets
    too, and the outputs for several views of an image have a mean, so that images can be mixed and views averaged."""

    @abc.abstractmethod
    def check_head(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of the head, checked and converted; raises `InputError`."""

    @abc.abstractmethod
    def model(self, backbone: keras.Model, head: Mapping[str, Any]) -> keras.Model:
        """`backbone` with this task's head on top; `head` is what the model's YAML says of heads."""

    @abc.abstractmethod
    def encode(self, targets: Mapping[str, Any]) -> Any:
        """The targets of a batch (tensors, by name) as one float tensor that the loss takes; in the input pipeline."""

    @abc.abstractmethod
    def loss(self) -> keras.losses.Loss:
        """The loss to train with."""

    @abc.abstractmethod
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics to follow during training, beside the loss."""

    @abc.abstractmethod
    def predictions(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """What the model's `outputs` for a batch say, in arrays small enough to be kept of all images; first axis n."""

    @abc.abstractmethod
    def evaluate(self, predictions: Mapping[str, np.ndarray], split: Split) -> Evaluation:
        """Metrics beside the loss, tables and figures of the `predictions` for all images of `split`."""

    @abc.abstractmethod
    def decode(self, predictions: Mapping[str, np.ndarray]) -> list[Any]:
        """One answer for each image that JSON can hold."""

    def draw(self, image: np.ndarray, found: Mapping[str, np.ndarray]) -> np.ndarray:
        """`image` uint8 (height, width, channels) with what its targets or predictions say drawn on it, for people.

        Returns uint8 (height, width, 3), enlarged by a whole number where the image is small. A task that speaks of no
        places has nothing to draw, and returns the image.
        """
        return image

"""Interfaces between the packages: `Split`, `Dataset`, `Task` and `Evaluation`."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from cifar.files.rows import ImageRows
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np
from cifar.runtime.paths import COMMAND

if TYPE_CHECKING:
    import keras
    import matplotlib.figure


ALIGNMENT = 64
"""Bytes. TensorFlow shares the memory of arrays that start at a multiple of this, and copies all others."""


def aligned_empty(size: int) -> np.ndarray:
    """Return an uninitialized uint8 array (size,) whose memory TensorFlow can share."""
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size]


VOID = 255
"""Mask value of pixels without a class; they are ignored in training and evaluation."""
Resize = Literal["crop", "letterbox", "stretch"]
"""How a photo is brought to the model's image.

`crop`: resized to cover the image, and cropped at its center. `letterbox`: resized to fit within the image, centered,
black around it. Both keep its aspect ratio. `stretch`: both sides are resized to those of the image.
"""


@dataclass(frozen=True)
class Split:
    """Images with their targets.

    `images` is uint8 of shape (n, height, width, channels), 0 to 255: an array, or rows of a larger one. `targets` maps
    names to arrays whose first axis is n. A data set has those that its source provides:

    - `label` int64 (n,): the class of the image;
    - `labels` bool (n, classes): the classes of the image, any number of them;
    - `soft_label` float32 (n, classes): the probability of each class, such as the share of people who chose it;
    - `boxes` float32 (n, m, 4): left, top, right, bottom of up to m objects, in pixels from the image's upper left
      corner (the right edge of the last pixel is at the image's width); zeros are padding;
    - `classes` int64 (n, m): the class of each object, -1 for padding;
    - `crowd` bool (n, m): objects that the evaluation of boxes ignores, as COCO's `iscrowd`;
    - `mask` uint8 (n, height, width): 0 for background, k + 1 for class k, `VOID` for pixels without a class.

    `ids`, str (n,), says where each image is in its source: the path of its file below `data.path`, or a part and a
    number, such as `train/17`. An id belongs to one image of the data set, whatever the seed and `data.limit`.

    `larger` has the same images with more pixels, which geometric augmentation resamples instead.
    """

    images: np.ndarray | ImageRows
    targets: Mapping[str, np.ndarray]
    ids: np.ndarray | None = None
    larger: ImageRows | None = None

    def __post_init__(self):
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images must be uint8 (n, height, width, channels), not {self.images.dtype} {self.images.shape}"
            )
        for name, target in self.targets.items():
            if len(target) != len(self.images):
                raise ValueError(f"{len(self.images)} images but {len(target)} targets {name!r}")
        if self.larger is not None and len(self.larger) != len(self.images):
            raise ValueError(f"{len(self.images)} images but {len(self.larger)} larger ones")
        if self.ids is not None and len(self.ids) != len(self.images):
            raise ValueError(f"{len(self.images)} images but {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Return the id of an image, or its number if the images have no ids."""
        return str(index if self.ids is None else self.ids[index])

    def images_by_class(self, classes: int) -> np.ndarray:
        """Return the number (classes,) of images with each class: as a label, in a box, or in the mask."""
        if "label" in self.targets:
            return np.bincount(self.targets["label"], minlength=classes)
        return self.classes_by_image(classes).sum(axis=0)

    def classes_by_image(self, classes: int) -> np.ndarray:
        """Return the classes that each image has as a label, in a box, or in the mask: bool (n, classes)."""
        if "labels" in self.targets:
            return self.targets["labels"]
        found = np.zeros((len(self), classes), bool)
        if "label" in self.targets:
            found[np.arange(len(self)), self.targets["label"]] = True
        elif "classes" in self.targets:
            image, place = np.nonzero(self.targets["classes"] >= 0)
            found[image, self.targets["classes"][image, place]] = True
        else:
            for row, mask in zip(found, self.targets["mask"], strict=True):
                row[:] = np.bincount(mask.ravel(), minlength=VOID + 1)[1 : classes + 1] > 0
        return found

    def take(self, index: np.ndarray) -> Split:
        """Return the images and targets at `index`, an integer array."""
        ids = None if self.ids is None else self.ids[index]
        targets = {name: target[index] for name, target in self.targets.items()}
        if isinstance(self.images, ImageRows):
            larger = None if self.larger is None else self.larger.take(index)
            return Split(self.images.take(index), targets, ids, larger)
        images = aligned_empty(self.images[0].size * len(index)).reshape(len(index), *self.images.shape[1:])
        np.take(self.images, index, axis=0, out=images, mode="clip")  # the other modes make a second copy
        return Split(images, targets, ids)


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits of one source, with the names of its classes."""

    name: str
    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    invalid: Mapping[str, int] = field(default_factory=dict)
    """Numbers of annotations and photos that were skipped or clipped, as they are invalid, by kind."""
    resize: Resize | None = None
    """How photos became the images; `None` if they were none."""

    @classmethod
    def placeholder(
        cls, name: str, class_names: Sequence[str], image_shape: Sequence[int], resize: Resize | None = None
    ) -> Dataset:
        """Return a stand-in for a data set that is not available: each split has one black image of each class.

        It has the targets of every task of `cifar/tasks/`. A model built for it has the architecture of one built for
        the data.
        """
        classes = len(class_names)
        targets: dict[str, np.ndarray] = {
            "label": np.arange(classes),
            "labels": np.eye(classes, dtype=bool),
            "boxes": np.zeros((classes, 1, 4), np.float32),
            "classes": np.arange(classes)[:, None],
            "crowd": np.zeros((classes, 1), bool),
            "mask": np.zeros((classes, *image_shape[:2]), np.uint8),
        }
        split = Split(np.zeros((classes, *image_shape), np.uint8), targets)
        return cls(name, split, split, split, tuple(class_names), resize=resize)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.train.images.shape[1:]

    @property
    def description(self) -> dict[str, Any]:
        """Name, classes, image shape, split sizes and preparation, as JSON values."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {
            "name": self.name,
            "class_names": list(self.class_names),
            "image_shape": list(self.image_shape),
            "images": {name: len(split) for name, split in splits.items()},
            **({"invalid": dict(self.invalid)} if self.invalid else {}),
            **({"resize": self.resize} if self.resize else {}),
        }

    def require_targets(self, *targets: str) -> None:
        """Raise `InputError` if one of a task's `targets` is missing, or a class has no training images."""
        if not len(self.train):
            raise InputError(
                f"data={self.name}: has test images only; `{COMMAND} evaluate` evaluates finished runs on them"
            )
        for name in targets:
            if name not in self.train.targets:
                raise InputError(
                    f"data={self.name}: its images have no {name}, which this task needs; they have "
                    f"{', '.join(sorted(self.train.targets))}"
                )
        if "label" in targets:
            counts = self.train.images_by_class(len(self.class_names))
            if missing := [name for name, count in zip(self.class_names, counts, strict=True) if not count]:
                raise InputError(
                    f"data={self.name}: no training images of {', '.join(map(repr, missing))}; accepted: "
                    "at least one of each class"
                )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal of class names, images (or their SHA-256) and targets of all splits, in order."""
        return self._sha256(self.train, self.val, self.test)

    @cached_property
    def test_fingerprint(self) -> str:
        """The same of the test split alone; runs with equal values can be compared even if their seeds differ."""
        return self._sha256(self.test)

    def _sha256(self, *splits: Split) -> str:
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for split in splits:
            larger = [] if split.larger is None else [split.larger]
            for array in (split.images, *larger, *(split.targets[name] for name in sorted(split.targets))):
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                for part in array.identity() if isinstance(array, ImageRows) else (np.ascontiguousarray(array),):
                    digest.update(part.data)
        return digest.hexdigest()


@dataclass
class Evaluation:
    """The result of evaluating a model's outputs on a split.

    `metrics` maps a metric's name to its value; `tables` maps a file name to its content (a text, a list of rows for a
    `.csv`, or JSON values for a `.json`); `figures` maps a figure's name to a function that draws it; `notes` are lines
    for the user about how the metrics were computed, `warnings` about what is wrong with the model.
    """

    metrics: dict[str, float]
    tables: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Callable[[], matplotlib.figure.Figure]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Task(abc.ABC):
    """A kind of prediction: the head on a backbone, targets, loss, metrics, decoding and evaluation."""

    metric_names: tuple[str, ...]
    """The names of `metrics()`, available before any of them is built."""

    targets: tuple[str, ...]
    """The targets of a `Split` that it needs."""

    class_names: tuple[str, ...]
    """The classes that its outputs and answers number from 0; those of the data set, unless it adds a background."""

    main_metric: str | None = None
    """The test metric by which people judge a model, from 0 to 1, such as `accuracy`."""

    is_dense = True
    """True for dense prediction, where targets have spatial dimensions. If False, weighted means of encoded targets are
    valid targets and outputs for several views of an image can be averaged: mixup and test-time augmentation work."""

    explains_classes = False
    """True where a dense layer `probabilities` has an output (n, classes): the service explains a class of an image."""

    is_classifier = False
    """True where `explains_classes` and the probabilities of an image sum to 1, of which `predictions` has those called
    `probabilities`: calibration, ensembles and corruptions need them."""

    @abc.abstractmethod
    def model(self, backbone: keras.Model) -> keras.Model:
        """Return `backbone` with this task's head on top."""

    @abc.abstractmethod
    def encode(self, targets: Mapping[str, Any]) -> Any:
        """Convert a batch of targets (tensors by name) to the float tensor that the loss takes; in the pipeline."""

    @abc.abstractmethod
    def loss(self) -> keras.losses.Loss:
        """Return the training loss."""

    @abc.abstractmethod
    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the metrics of training and validation, without the loss."""

    @abc.abstractmethod
    def predictions(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Convert `outputs` of a batch to arrays (n, …) that are small enough to keep for a whole split."""

    @abc.abstractmethod
    def evaluate(self, predictions: Mapping[str, np.ndarray], split: Split) -> Evaluation:
        """Evaluate `predictions` for all images of `split`: metrics without the loss, tables, figures."""

    @abc.abstractmethod
    def decode(self, predictions: Mapping[str, np.ndarray]) -> list[Any]:
        """Return one answer per image, of JSON values."""

    def exported(self, model: keras.Model) -> dict[str, keras.KerasTensor]:
        """Return the outputs by name that exported files of `model` have: made of `keras.ops`, by default its own."""
        return {model.output_names[0]: model.output}

    def of_exported(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`predictions` of the outputs of an exported file."""
        (single,) = outputs.values()
        return self.predictions(single)

    def difference(self, outputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
        """The maximum difference of exported outputs, relative to the greatest one if that is above 1."""
        return max(float(np.abs(outputs[name] - values).max()) / max(1.0, float(np.abs(values).max()))
                   for name, values in expected.items())  # fmt: skip

    def described_outputs(self) -> dict[str, dict[str, Any]]:
        """Describe exported outputs by name for other programs: the meaning of their axes and columns, and units."""
        return {}

    def draw(self, image: np.ndarray, annotations: Mapping[str, np.ndarray]) -> np.ndarray:
        """Draw targets or predictions on `image` uint8 (height, width, channels).

        Returns uint8 (height, width, 3), enlarged by a whole factor if the image is small. Returns the image itself
        unless the task `is_dense`.
        """
        return image

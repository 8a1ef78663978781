"""All images of a data set in one order, with small gray copies of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from PIL import Image

from cifar.interfaces import Dataset, Split

SIDE = 32
"""Side in pixels of the gray copies."""
BLOCK = 2**22
"""Values of the images that are worked on at once."""
SPLITS = ("train", "val", "test")


class Pool:
    """The images of the training, validation and test split, numbered from 0 in this order."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.parts: tuple[Split, ...] = (dataset.train, dataset.val, dataset.test)
        self.split = np.repeat(np.arange(len(SPLITS)), [len(part) for part in self.parts])
        """The number (n,) in `SPLITS` of each image's split."""
        self._first = np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return len(self.split)

    @cached_property
    def ids(self) -> np.ndarray:
        """`Split.ids` (n,), or numbers within the splits for a data set without any."""
        return np.concatenate([
            np.array([f"{name}/{number}" for number in range(len(part))]) if part.ids is None else part.ids
            for name, part in zip(SPLITS, self.parts, strict=True)
        ])  # fmt: skip

    @cached_property
    def labels(self) -> np.ndarray | None:
        """The class (n,) of each image; `None` for a data set without labels."""
        if "label" not in self.dataset.train.targets:
            return None
        return np.concatenate([part.targets["label"] for part in self.parts])

    def image(self, number: int) -> np.ndarray:
        """An image, uint8 (height, width, channels)."""
        split = self.split[number]
        return self.parts[split].images[number - self._first[split]]

    def targets(self, number: int) -> dict[str, np.ndarray]:
        """The targets of an image."""
        split = self.split[number]
        return {name: target[number - self._first[split]] for name, target in self.parts[split].targets.items()}

    def blocks(self) -> Iterator[np.ndarray]:
        """All images in order, in arrays (k, height, width, channels)."""
        count = max(1, BLOCK // math.prod(self.dataset.image_shape))
        for part in self.parts:
            for first in range(0, len(part), count):
                yield part.images[first : first + count]

    @cached_property
    def gray(self) -> np.ndarray:
        """The luma of all images, resized to uint8 (n, `SIDE`, `SIDE`)."""
        return np.concatenate([_gray(block) for block in self.blocks()])


def shrunk(images: np.ndarray, side: int = SIDE) -> np.ndarray:
    """`images` (n, height, width, channels), those with a longer side than `side` reduced to it; uint8."""
    height, width = images.shape[1:3]
    if max(height, width) <= side:
        return images
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.stack([_resized(image, size) for image in images])


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return np.asarray(picture.resize(size, Image.Resampling.BOX)).reshape(size[1], size[0], -1)


def _gray(images: np.ndarray) -> np.ndarray:
    weights = np.array([1.0] if images.shape[-1] == 1 else [0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
    gray = (images.astype(np.float32) @ weights).round().astype(np.uint8)
    if gray.shape[1:] == (SIDE, SIDE):
        return gray
    way = Image.Resampling.BOX if min(gray.shape[1:]) >= SIDE else Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(image).resize((SIDE, SIDE), way)) for image in gray])

"""The part of each batch that one process and its devices read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar.runtime.lazy import np

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Shard:
    """What one process reads of each batch: of `count` equal parts the one at `index`; `devices` compute the batch.

    A partial batch is filled up with its first image, so that all devices get equally many, and each cuts off again
    what fills up its part.
    """

    index: int = 0
    count: int = 1
    devices: int = 1

    def sizes(self, images: int) -> np.ndarray:
        """How many of a batch's `images` each device computes with: (devices,), which differ by one at most."""
        return np.diff(np.arange(self.devices + 1) * images // self.devices)

    def filled(self, images: int, batch_size: int) -> int:
        """The multiple of the devices that a batch is filled up to; for a partial one it is not that of a whole."""
        least = -(-images // self.devices) * self.devices
        return least + self.devices if images < batch_size <= least else least

    def places(self, images: int, batch_size: int) -> np.ndarray:
        """Where the `images` of a batch stand once it is filled up: (images,)."""
        each = self.filled(images, batch_size) // self.devices
        return np.concatenate([device * each + np.arange(size) for device, size in enumerate(self.sizes(images))])

    def rows(self, images: int, batch_size: int) -> np.ndarray:
        """Which of a batch's `images` this process reads, in the order of their places."""
        rows = np.zeros(self.filled(images, batch_size), np.int32)
        rows[self.places(images, batch_size)] = np.arange(images)
        return np.split(rows, self.count)[self.index]


WHOLE = Shard()

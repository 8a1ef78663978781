"""Which training images an epoch shows, and in which order: a function of the seed and the number of the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from cifar.augmentation import random_key, random_permutation
from cifar.config.builders import Sampling
from cifar.interfaces import Split
from cifar.runtime.lazy import np, tf

if TYPE_CHECKING:
    import tensorflow


class Order(Protocol):
    """The order of the images of each epoch."""

    count: int
    """Images of an epoch."""

    def __call__(self, epoch: Any) -> tensorflow.Tensor:
        """The positions of the images of an epoch, from 0, in the training split: int32 (count,)."""


class Shuffled:
    """Each image once in each epoch."""

    def __init__(self, count: int, seed: int):
        self.count, self._seed = count, seed

    def __call__(self, epoch: Any) -> tensorflow.Tensor:
        return permutation(self.count, self._seed, epoch)


class Balanced:
    """Each class equally often in each epoch, which has as many images as there are, rounded down to that.

    The images of a class take turns in an order that the seed draws: an epoch continues where the last one stopped, and
    begins again with the first after the last one. So each is shown as often as any other of its class, to within one.
    """

    def __init__(self, labels: np.ndarray, seed: int):
        counts = np.bincount(labels)
        counts = counts[counts > 0]
        self.each = len(labels) // len(counts)
        """Images of each class in an epoch."""
        self.count = self.each * len(counts)
        self._seed = seed
        drawn = np.random.PCG64(seed).random_raw(len(labels))
        self._turns, self._counts = np.lexsort((drawn, labels)).astype(np.int32), counts

    def __call__(self, epoch: Any) -> tensorflow.Tensor:
        slot = tf.range(self.count, dtype=tf.int64)
        label, turn = slot // self.each, tf.cast(epoch, tf.int64) * self.each + slot % self.each
        first = tf.constant(np.cumsum(self._counts) - self._counts)
        place = tf.gather(first, label) + turn % tf.gather(tf.constant(self._counts), label)
        return tf.gather(tf.gather(tf.constant(self._turns), place), permutation(self.count, self._seed, epoch))


def order(split: Split, sampling: Sampling, seed: int) -> Order:
    """The order of the images of `split` that the setting `data.sampling` asks for."""
    return Balanced(split.targets["label"], seed) if sampling == "balanced" else Shuffled(len(split), seed)


def permutation(count: int, seed: Any, epoch: Any) -> tensorflow.Tensor:
    """An int32 permutation of 0 to `count` - 1 for each seed and epoch."""
    return random_permutation(count, random_key("order", seed, epoch))

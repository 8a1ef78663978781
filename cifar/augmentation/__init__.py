"""Random transforms of training images, applied to images and targets.

A transform is a registered function that returns one of these kinds:

- `Geometric` samples an affine matrix per image. The matrices of all geometric transforms are multiplied and the image
  is resampled once; the same matrix moves its boxes and its mask.
- `Photometric` changes pixels, after all geometric transforms.
- `Mixing` blends images, and their targets, with others of their batch, last; if there are several, one per batch.

A policy returns a tuple of kinds that share their random numbers.

Random numbers are a pure function of (seed, epoch, step, name of the transform), or of (seed, epoch, image, name of the
transform): adding a transform does not change the numbers of the others, and no state is weight between batches.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cifar.augmentation.boxes import PADDING, move_boxes
from cifar.augmentation.resampling import resample, resample_mask
from cifar.runtime.lazy import tf

if TYPE_CHECKING:
    from tensorflow import Tensor

    from cifar.config.settings import FillMode

Kind = TypeVar("Kind", "Geometric", "Photometric", "Mixing")


class Batch(NamedTuple):
    """The global batch that random numbers are sampled for, even if a process reads only a part of it."""

    seed: Any
    """An integer or a scalar integer tensor, like epoch and step."""
    epoch: Any
    step: Any
    index: Tensor
    """(n,) integers: positions of the images in their split."""


@dataclass(frozen=True)
class BatchRandom:
    """Random numbers of the transform `name` for all images of a batch; all images have the same `shape`."""

    name: str
    batch: Batch
    shape: tuple[int, int, int]
    """(height, width, channels)."""

    @property
    def count(self) -> Tensor:
        """Number of images: n."""
        return tf.size(self.batch.index)

    @property
    def key(self) -> Tensor:
        """The int64 (2,) key of this batch's numbers."""
        return random_key(self.name, self.batch.seed, self.batch.epoch, self.batch.step)

    def fold_in(self, part: str) -> BatchRandom:
        """Return independent random numbers for a `part` of this transform."""
        return dataclasses.replace(self, name=f"{self.name}/{part}")

    def uniform(self, low: float, high: float, numbers: int = 2) -> Tensor:
        """float32 (n, `numbers`) in [low, high)."""
        return tf.random.stateless_uniform([self.count, numbers], self.key, low, high, alg="philox")

    def pixels(self) -> Tensor:
        """uint8 (n, height, width, channels), each value uniform from 0 to 255."""
        values = math.prod(self.shape)
        words = tf.random.stateless_uniform([self.count, -(-values // 4)], self.key, None, None, tf.int32, alg="philox")
        return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [self.count, -1])[:, :values], [-1, *self.shape])

    def bernoulli(self) -> Tensor:
        """bool (n,), True with probability 1/2; an image has the same value in all epochs."""
        # SplitMix64 (Steele et al. 2014, doi:10.1145/2660193.2660195) has random access; other generators would have
        # to produce all numbers up to the greatest index.
        key = random_key(self.name, self.batch.seed)
        start = tf.bitcast(tf.random.stateless_uniform([], key, None, None, tf.int64, alg="philox"), tf.uint64)
        bits = start + tf.cast(self.batch.index, tf.uint64) * tf.constant(0x9E3779B97F4A7C15, tf.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint64)))
            bits *= tf.constant(factor, tf.uint64)
        return tf.bitwise.right_shift(bits, tf.constant(63, tf.uint64)) == 1


@dataclass(frozen=True)
class Geometric:
    """`sample(rng)` returns float32 matrices of shape (n, 3, 3).

    A matrix maps (x, y, 1) of an output pixel to the input position that its value is read from, in pixels to the
    right of and below the image's center.
    """

    sample: Callable[[BatchRandom], Tensor]


@dataclass(frozen=True)
class Photometric:
    """`apply(numbers, x)` changes a batch of float32 images (n, height, width, channels), nominally 0 to 255.

    `numbers` is the result of `sample(rng)`: a tensor whose first axis is the images, or a tuple of such. The result
    may leave the range; it is clipped once, after the last transform.
    """

    sample: Callable[[BatchRandom], Any]
    apply: Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Mixing:
    """`sample(rng)` returns float32 (n, height or 1, width or 1, 1) in [0, 1]: the weight of an image's own pixels.

    The rest is the weight of its partner. A target is weighted by the mean over its image's pixels.
    """

    sample: Callable[[BatchRandom], Tensor]


Transforms = Mapping[str, Geometric | Photometric | Mixing | tuple]
"""The transforms of a run by name, in the order in which they are applied; a tuple has several kinds."""


def transforms_of(kind: type[Kind], transforms: Transforms) -> list[tuple[str, Kind]]:
    """Return the `transforms` of a `kind`, each with its name."""
    every = [(name, part) for name, transform in transforms.items()
             for part in (transform if isinstance(transform, tuple) else (transform,))]  # fmt: skip
    return [(name, part) for name, part in every if isinstance(part, kind)]


def random_key(name: str, seed: Any, *position: Any) -> Tensor:
    """Return the int64 (2,) key of the random numbers of `name` at `position`, such as (epoch, step), for `seed`."""
    key = tf.stack([tf.cast(seed, tf.int64), tf.constant(zlib.crc32(name.encode()), tf.int64)])
    for number in position:
        key = tf.random.experimental.stateless_fold_in(key, tf.cast(number, tf.int64), alg="philox")
    return key


def random_permutation(count: Any, key: Tensor) -> Tensor:
    """Return int32 (count,): the numbers from 0 to `count` - 1, shuffled by `key`.

    Not by `tf.random.experimental.index_shuffle`: its permutations for neighboring seeds correlate at 0.76.
    """
    numbers = tf.random.stateless_uniform([count], key, minval=None, maxval=None, dtype=tf.int64, alg="philox")
    return tf.argsort(numbers, stable=True)


def compose(transforms: Transforms, batch: Batch, shape: tuple[int, int, int]) -> Tensor:
    """Return the product of the geometric transforms' matrices for images of `shape` (height, width, channels).

    float32 (n, 3, 3), from output to input (see `Geometric`). The transform listed first is applied first.
    """
    matrix = tf.eye(3, batch_shape=[tf.size(batch.index)])
    for name, transform in transforms_of(Geometric, transforms):
        matrix = matrix @ transform.sample(BatchRandom(name, batch, shape))
    return matrix


@dataclass(frozen=True)
class Augmentation:
    """The transforms of a run, and what fills the pixels outside a moved image."""

    transforms: Transforms
    fill_mode: FillMode = "nearest"

    @property
    def mixes(self) -> bool:
        """True if images are blended with others of their batch."""
        return bool(transforms_of(Mixing, self.transforms))

    @property
    def resamples(self) -> bool:
        """True if images are resampled."""
        return bool(transforms_of(Geometric, self.transforms))

    def apply(
        self,
        images: Tensor,
        targets: Mapping[str, Tensor],
        encode: Callable[[Mapping[str, Tensor]], Any],
        batch: Batch,
        rows: Tensor | None = None,
        shape: tuple[int, int, int] | None = None,
    ) -> tuple[Tensor, Any]:
        """Apply all transforms to `images` uint8 (n, height, width, channels) and `targets`, and encode the targets.

        The images are those of the whole `batch`, or of its `rows`, (n,) integers. Mixing needs the whole batch and an
        `encode` that returns a float tensor whose first axis is the images. The `targets` are those of a `Split`; they
        are moved, then encoded. Images are rounded and clipped to uint8 once. Where they are resampled, they may be
        larger than the `shape` (height, width, channels) of the result, to which boxes and masks belong.
        """
        if not self.transforms:
            return images, encode(targets)
        rows = tf.range(tf.size(batch.index)) if rows is None else rows
        shape = tuple(images.shape[1:]) if shape is None else shape
        if self.resamples:
            matrix = tf.gather(compose(self.transforms, batch, shape), rows)
            x = resample(images, matrix, self.fill_mode, shape[:2])
            targets = _move(targets, matrix, shape, self.fill_mode)
        else:
            x = tf.cast(images, tf.float32)
        for name, transform in transforms_of(Photometric, self.transforms):
            numbers = transform.sample(BatchRandom(name, batch, shape))
            x = transform.apply(tf.nest.map_structure(lambda sampled: tf.gather(sampled, rows), numbers), x)
        targets = encode(targets)
        if mixing := transforms_of(Mixing, self.transforms):
            x, targets = _mix(x, targets, mixing, BatchRandom("mixing", batch, shape))
        return tf.saturate_cast(tf.round(x), tf.uint8), targets


def _move(
    targets: Mapping[str, Tensor], matrix: Tensor, shape: tuple[int, int, int], fill_mode: FillMode
) -> dict[str, Tensor]:
    """Apply the image's `matrix` to boxes and masks."""
    targets = dict(targets)
    if "boxes" in targets:
        targets |= move_boxes({name: targets[name] for name in PADDING if name in targets}, matrix, shape[:2])
    if "mask" in targets:
        targets["mask"] = resample_mask(targets["mask"], matrix, fill_mode)
    return targets


def _mix(x: Tensor, targets: Tensor, mixing: list[tuple[str, Mixing]], rng: BatchRandom) -> tuple[Tensor, Tensor]:
    """Blend images and targets with those of their partners, by one of the transforms."""
    samples = [lambda name=name, transform=transform: transform.sample(dataclasses.replace(rng, name=name))
               for name, transform in mixing]  # fmt: skip
    chosen = tf.random.stateless_uniform([], rng.key, 0, len(mixing), tf.int32, alg="philox")
    weight = tf.switch_case(chosen, samples)
    partner = random_permutation(rng.count, rng.fold_in("partner").key)
    share = tf.reshape(tf.reduce_mean(weight, axis=[1, 2, 3]), [-1, *[1] * (len(targets.shape) - 1)])
    return (
        weight * x + (1 - weight) * tf.gather(x, partner),
        share * targets + (1 - share) * tf.gather(targets, partner),
    )

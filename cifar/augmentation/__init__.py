"""Random transforms of training images: what is drawn, and the one place that applies it.

A choice is a registered function that returns one of these kinds:

- `Geometric` draws an affine matrix per image. The matrices of all geometric choices are multiplied and the image is
  resampled once; the same matrix moves its boxes and its mask.
- `Photometric` changes the pixels, after all geometry.
- `Mixing` blends images with others of their batch, and their targets likewise, at last; of several, one a batch.

Or a tuple of kinds, all of which draw the same numbers: a policy that now turns an image, now changes its colors.

Every random number is a pure function of (seed, epoch, step, name of the choice), or of (seed, epoch, image, name of
the choice): adding a choice leaves the numbers of the others as they were, and no state is carried from batch to batch.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cifar.augmentation.boxes import ABSENT, moved
from cifar.augmentation.resampling import resample, resample_mask
from cifar.runtime.lazy import tf

if TYPE_CHECKING:
    from tensorflow import Tensor

    from cifar.config.settings import FillMode

Kind = TypeVar("Kind", "Geometric", "Photometric", "Mixing")


class Batch(NamedTuple):
    """The batch that random numbers are for, all of it, whatever part of it a process reads."""

    seed: Any
    """Like epoch and step an integer, or a scalar integer tensor."""
    epoch: Any
    step: Any
    index: Tensor
    """(n,) integers: the numbers of its images in their split."""


@dataclass(frozen=True)
class Draw:
    """What the choice `name` draws at once: random numbers for all images of a batch, each of the same `shape`."""

    name: str
    batch: Batch
    shape: tuple[int, int, int]
    """(height, width, channels)."""

    @property
    def count(self) -> Tensor:
        """How many images: n."""
        return tf.size(self.batch.index)

    @property
    def key(self) -> Tensor:
        """The int64 (2,) key of this batch's numbers."""
        return random_key(self.name, self.batch.seed, self.batch.epoch, self.batch.step)

    def fold_in(self, part: str) -> Draw:
        """Other numbers for another `part` of this choice."""
        return dataclasses.replace(self, name=f"{self.name}/{part}")

    def uniform(self, low: float, high: float, numbers: int = 2) -> Tensor:
        """float32 (n, `numbers`) in [low, high)."""
        return tf.random.stateless_uniform([self.count, numbers], self.key, low, high, alg="philox")

    def pixels(self) -> Tensor:
        """uint8 (n, height, width, channels): each value uniform from 0 to 255."""
        values = math.prod(self.shape)
        words = tf.random.stateless_uniform([self.count, -(-values // 4)], self.key, None, None, tf.int32, alg="philox")
        return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [self.count, -1])[:, :values], [-1, *self.shape])

    def bernoulli(self) -> Tensor:
        """bool (n,): a fair coin's toss for each image of the split, which it keeps through all epochs."""
        # SplitMix64 (Steele et al. 2014, doi:10.1145/2660193.2660195) gives any number of its stream at once; of other
        # generators' streams, all up to the greatest index would have to be drawn.
        key = random_key(self.name, self.batch.seed)
        start = tf.bitcast(tf.random.stateless_uniform([], key, None, None, tf.int64, alg="philox"), tf.uint64)
        bits = start + tf.cast(self.batch.index, tf.uint64) * tf.constant(0x9E3779B97F4A7C15, tf.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint64)))
            bits *= tf.constant(factor, tf.uint64)
        return tf.bitwise.right_shift(bits, tf.constant(63, tf.uint64)) == 1


@dataclass(frozen=True)
class Geometric:
    """`sample(draw)` draws float32 matrices of shape (n, 3, 3).

    A matrix takes (x, y, 1) of an output pixel to the place in the input that its value comes from, in pixels
    to the right of and below the image's center.
    """

    sample: Callable[[Draw], Tensor]


@dataclass(frozen=True)
class Photometric:
    """`apply(numbers, x)` changes a batch of float32 images (n, height, width, channels), nominally 0 to 255.

    `numbers` is what `sample(draw)` draws for them: a tensor whose first axis is the images, or a tuple of such. The
    result may leave that range; it is clipped once, after the last choice.
    """

    sample: Callable[[Draw], Any]
    apply: Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Mixing:
    """`sample(draw)` draws float32 (n, height or 1, width or 1, 1) in [0, 1]: what each pixel keeps of itself.

    The rest is its partner's. A target keeps the mean share of its image's pixels.
    """

    sample: Callable[[Draw], Tensor]


Choices = Mapping[str, Geometric | Photometric | Mixing | tuple]
"""The choices of a run by name, in the order in which they act on an image; a tuple has several kinds."""


def parts(choices: Choices, kind: type[Kind]) -> list[tuple[str, Kind]]:
    """What `choices` have of a `kind`, each with the name of its choice."""
    every = [(name, part) for name, choice in choices.items()
             for part in (choice if isinstance(choice, tuple) else (choice,))]  # fmt: skip
    return [(name, part) for name, part in every if isinstance(part, kind)]


def random_key(name: str, seed: Any, *position: Any) -> Tensor:
    """The int64 (2,) key of the numbers that `name` draws at `position`, say (epoch, step), under `seed`."""
    key = tf.stack([tf.cast(seed, tf.int64), tf.constant(zlib.crc32(name.encode()), tf.int64)])
    for number in position:
        key = tf.random.experimental.stateless_fold_in(key, tf.cast(number, tf.int64), alg="philox")
    return key


def random_permutation(count: Any, key: Tensor) -> Tensor:
    """int32 (count,): the numbers from 0 in an order that `key` decides.

    Not `tf.random.experimental.index_shuffle`: its permutations under neighboring seeds correlate at 0.76.
    """
    numbers = tf.random.stateless_uniform([count], key, minval=None, maxval=None, dtype=tf.int64, alg="philox")
    return tf.argsort(numbers, stable=True)


def compose(choices: Choices, batch: Batch, shape: tuple[int, int, int]) -> Tensor:
    """The product of what the geometric `choices` draw for a `batch` of images of `shape` (height, width, channels).

    Returns float32 (n, 3, 3), output to input about the image's center (see `Geometric`). The choice listed first
    acts on the image first.
    """
    matrix = tf.eye(3, batch_shape=[tf.size(batch.index)])
    for name, choice in parts(choices, Geometric):
        matrix = matrix @ choice.sample(Draw(name, batch, shape))
    return matrix


def augment(
    images: Tensor,
    targets: Mapping[str, Tensor],
    encode: Callable[[Mapping[str, Tensor]], Any],
    choices: Choices,
    batch: Batch,
    fill_mode: FillMode,
    rows: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """`images` uint8 (n, height, width, channels) and their encoded `targets` after all `choices`.

    They are those of the `batch`, or of its `rows`, (n,) integers. Where choices mix, they must be those of all of it,
    and what `encode` returns a float tensor whose first axis is the images. The `targets` are those of a `Split`, moved
    before they are encoded. Images are rounded and clipped to uint8 once.
    """
    if not choices:
        return images, encode(targets)
    rows, shape = tf.range(tf.size(batch.index)) if rows is None else rows, tuple(images.shape[1:])
    if parts(choices, Geometric):
        matrix = tf.gather(compose(choices, batch, shape), rows)
        x, targets = resample(images, matrix, fill_mode), _move(targets, matrix, shape, fill_mode)
    else:
        x = tf.cast(images, tf.float32)
    for name, choice in parts(choices, Photometric):
        numbers = choice.sample(Draw(name, batch, shape))
        x = choice.apply(tf.nest.map_structure(lambda drawn: tf.gather(drawn, rows), numbers), x)
    targets = encode(targets)
    if mixing := parts(choices, Mixing):
        x, targets = _mix(x, targets, mixing, Draw("mixing", batch, shape))
    return tf.saturate_cast(tf.round(x), tf.uint8), targets


def _move(
    targets: Mapping[str, Tensor], matrix: Tensor, shape: tuple[int, int, int], fill_mode: FillMode
) -> dict[str, Tensor]:
    """Boxes and masks moved as the image is."""
    targets = dict(targets)
    if "boxes" in targets:
        targets |= moved({name: targets[name] for name in ABSENT if name in targets}, matrix, shape[:2])
    if "mask" in targets:
        targets["mask"] = resample_mask(targets["mask"], matrix, fill_mode)
    return targets


def _mix(x: Tensor, targets: Tensor, mixing: list[tuple[str, Mixing]], draw: Draw) -> tuple[Tensor, Tensor]:
    """Images and targets blended with those of their partners, by one of the choices."""
    samples = [lambda name=name, choice=choice: choice.sample(dataclasses.replace(draw, name=name))
               for name, choice in mixing]  # fmt: skip
    chosen = tf.random.stateless_uniform([], draw.key, 0, len(mixing), tf.int32, alg="philox")
    kept = tf.switch_case(chosen, samples)
    partner = random_permutation(draw.count, draw.fold_in("partner").key)
    share = tf.reshape(tf.reduce_mean(kept, axis=[1, 2, 3]), [-1, *[1] * (len(targets.shape) - 1)])
    return (
        kept * x + (1 - kept) * tf.gather(x, partner),
        share * targets + (1 - share) * tf.gather(targets, partner),
    )

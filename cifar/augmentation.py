"""Random transforms of training images: what is drawn, and the one place that applies it.

A choice is a registered function that returns one of these kinds:

- `Geometric` draws an affine matrix per image. The matrices of all geometric choices are multiplied and the image is
  resampled once; the same matrix moves boxes and masks.
- `Photometric` changes the pixels, after all geometry.

Every random number is a pure function of (seed, epoch, step, name of the choice), or of (seed, epoch, image, name of
the choice): adding a choice leaves the numbers of the others as they were, and no state is carried from batch to batch.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from cifar.lazy import tf
from cifar.registry import AUGMENTATIONS
from cifar.schema import NonNegativeInt, Rate, UnitInterval

if TYPE_CHECKING:
    from tensorflow import Tensor

    from cifar.config import FillMode

HalfTurn = Annotated[float, Field(ge=0, le=180)]
Slant = Annotated[float, Field(ge=0, lt=90)]


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
    """What the choice `name` draws at once: random numbers for all images of a batch, of `size` (height, width)."""

    name: str
    batch: Batch
    size: tuple[int, int]

    @property
    def count(self) -> Tensor:
        """How many images: n."""
        return tf.size(self.batch.index)

    @property
    def key(self) -> Tensor:
        """The int64 (2,) key of this batch's numbers."""
        return random_key(self.name, self.batch.seed, self.batch.epoch, self.batch.step)

    def uniform(self, low: float, high: float, numbers: int = 2) -> Tensor:
        """float32 (n, `numbers`) in [low, high)."""
        return tf.random.stateless_uniform([self.count, numbers], self.key, low, high, alg="philox")

    def coins(self) -> Tensor:
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
    to the right of and below the image's centre.
    """

    sample: Callable[[Draw], Tensor]


@dataclass(frozen=True)
class Photometric:
    """`apply(numbers, x)` changes a batch of float32 images (n, height, width, channels), nominally 0 to 255.

    `numbers` is what `sample(draw)` draws for them: float32, whose first axis is the images. The result may leave
    that range; it is clipped once, after the last choice.
    """

    sample: Callable[[Draw], Tensor]
    apply: Callable[[Tensor, Tensor], Tensor]


Choices = Mapping[str, Geometric | Photometric]
"""The choices of a run by name, in the order in which they act on an image."""


def random_key(name: str, seed: Any, *position: Any) -> Tensor:
    """The int64 (2,) key of the numbers that `name` draws at `position`, say (epoch, step), under `seed`."""
    key = tf.stack([tf.cast(seed, tf.int64), tf.constant(zlib.crc32(name.encode()), tf.int64)])
    for number in position:
        key = tf.random.experimental.stateless_fold_in(key, tf.cast(number, tf.int64), alg="philox")
    return key


def compose(choices: Choices, batch: Batch, size: tuple[int, int]) -> Tensor:
    """The product of what the geometric `choices` draw for a `batch` of images of `size` (height, width).

    Returns float32 (n, 3, 3), output to input about the image's centre (see `Geometric`). The choice listed first
    acts on the image first.
    """
    matrix = tf.eye(3, batch_shape=[tf.size(batch.index)])
    for name, choice in choices.items():
        if isinstance(choice, Geometric):
            matrix = matrix @ choice.sample(Draw(name, batch, size))
    return matrix


def resample(images: Tensor, matrix: Tensor, fill_mode: FillMode) -> Tensor:
    """`images` (n, height, width, channels) seen through `matrix` (n, 3, 3), bilinearly: float32 of the same shape.

    Flips and whole-pixel shifts are exact. For the matrix see `Geometric`. Outside an image lies its edge pixel
    (`nearest`), its mirror image (`reflect`: dcba|abcd|dcba), the image again (`wrap`) or black (`constant`).
    """
    return _resampler()(images, matrix, fill_mode)


@functools.cache
def _resampler() -> Callable:
    # XLA makes one loop of it: a fifth of the CPU time of ImageProjectiveTransformV3, or of these ops one by one.
    return tf.function(_resample, autograph=False, jit_compile=True)


def _resample(images: Tensor, matrix: Tensor, fill_mode: FillMode) -> Tensor:
    height, width, channels = images.shape[1:]
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    y = tf.range(height, dtype=tf.float32)[:, None] - middle_y
    x = tf.range(width, dtype=tf.float32)[None, :] - middle_x
    (xx, xy, dx), (yx, yy, dy), _ = (tf.unstack(row[..., None, None], axis=1) for row in tf.unstack(matrix, axis=1))
    columns = _neighbours(xx * x + xy * y + dx + middle_x, width, fill_mode)
    rows = _neighbours(yx * x + yy * y + dy + middle_y, height, fill_mode)

    pixels = tf.reshape(images, [-1, channels])
    first = tf.range(tf.shape(images)[0])[:, None, None] * (height * width)
    return tf.add_n([
        (row_weight * column_weight)[..., None] * tf.cast(tf.gather(pixels, first + row * width + column), tf.float32)
        for row, row_weight in rows for column, column_weight in columns
    ])


def _neighbours(place: Tensor, size: int, fill_mode: FillMode) -> list[tuple[Tensor, Tensor]]:
    """The two pixels around each `place` along an axis of `size` pixels: [(index, weight), (index, weight)]."""
    below = tf.floor(place)
    share = place - below
    index = tf.cast(below, tf.int32)
    return [_inside(index, 1 - share, size, fill_mode), _inside(index + 1, share, size, fill_mode)]


def _inside(index: Tensor, weight: Tensor, size: int, fill_mode: FillMode) -> tuple[Tensor, Tensor]:
    match fill_mode:
        case "reflect":
            index = index % (2 * size)
            index = tf.minimum(index, 2 * size - 1 - index)
        case "wrap":
            index = index % size
        case "constant":
            weight = tf.where((index >= 0) & (index < size), weight, 0.0)
    return tf.clip_by_value(index, 0, size - 1), weight


def augment(
    images: Tensor, choices: Choices, batch: Batch, fill_mode: FillMode, rows: Tensor | None = None
) -> Tensor:
    """`images` uint8 (n, height, width, channels) after all `choices`, rounded and clipped to uint8 once.

    They are those of the `batch`, or of its `rows`, (n,) integers.
    """
    if not choices:
        return images
    rows, size = tf.range(tf.size(batch.index)) if rows is None else rows, tuple(images.shape[1:3])
    if any(isinstance(choice, Geometric) for choice in choices.values()):
        x = resample(images, tf.gather(compose(choices, batch, size), rows), fill_mode)
    else:
        x = tf.cast(images, tf.float32)
    for name, choice in choices.items():
        if isinstance(choice, Photometric):
            x = choice.apply(tf.gather(choice.sample(Draw(name, batch, size)), rows), x)
    return tf.saturate_cast(tf.round(x), tf.uint8)


def _affine(count: Any, xx: Any = 1.0, xy: Any = 0.0, dx: Any = 0.0, yx: Any = 0.0, yy: Any = 1.0, dy: Any = 0.0):
    """(count, 3, 3): x' = xx·x + xy·y + dx and y' = yx·x + yy·y + dy; each number one for all or (count,)."""
    entries = (xx, xy, dx, yx, yy, dy, 0.0, 0.0, 1.0)
    return tf.reshape(tf.stack([tf.broadcast_to(entry, [count]) for entry in entries], axis=1), [-1, 3, 3])


@AUGMENTATIONS.register
def flip(*, horizontal: bool, vertical: bool) -> Geometric:
    """Mirror left and right, and top and bottom, each with probability 1/2."""

    def sample(draw):
        sign = tf.where(draw.uniform(0, 1) < 0.5, -1.0, 1.0)
        return _affine(draw.count, xx=sign[:, 0] if horizontal else 1.0, yy=sign[:, 1] if vertical else 1.0)

    return Geometric(sample)


@AUGMENTATIONS.register
def alternating_flip() -> Geometric:
    """Mirror left and right every other epoch; in which of two an image begins is random.

    So two epochs in a row show each image both ways (Jordan 2024, arXiv:2404.00498, section 3.6).
    """

    def sample(draw):
        odd = tf.cast(draw.batch.epoch, tf.int64) % 2 == 1
        return _affine(draw.count, xx=tf.where(tf.math.logical_xor(draw.coins(), odd), -1.0, 1.0))

    return Geometric(sample)


@AUGMENTATIONS.register
def rotation(*, degrees: HalfTurn) -> Geometric:
    """Turn about the centre by an angle uniform in ±`degrees`."""

    def sample(draw):
        angle = math.radians(degrees) * draw.uniform(-1, 1)[:, 0]
        sine, cosine = tf.sin(angle), tf.cos(angle)
        return _affine(draw.count, xx=cosine, xy=-sine, yx=sine, yy=cosine)

    return Geometric(sample)


@AUGMENTATIONS.register
def shift(*, width: UnitInterval, height: UnitInterval) -> Geometric:
    """Move by a share of the image's width, uniform in ±`width`, and by one of its height likewise."""

    def sample(draw):
        share = draw.uniform(-1, 1)
        return _affine(draw.count, dx=width * draw.size[1] * share[:, 0], dy=height * draw.size[0] * share[:, 1])

    return Geometric(sample)


@AUGMENTATIONS.register
def crop(*, padding: NonNegativeInt) -> Geometric:
    """Pad by `padding` pixels on all sides and cut out the old size at random: a shift by whole pixels.

    The usual augmentation of CIFAR (He et al. 2016, arXiv:1512.03385, section 4.2, pads with zeros: `constant`).
    """

    def sample(draw):
        pixels = tf.random.stateless_uniform([draw.count, 2], draw.key, -padding, padding + 1, tf.int32, alg="philox")
        move = tf.cast(pixels, tf.float32)
        return _affine(draw.count, dx=move[:, 0], dy=move[:, 1])

    return Geometric(sample)


@AUGMENTATIONS.register
def zoom(*, amount: Rate) -> Geometric:
    """Enlarge both axes by one factor uniform in 1 ± `amount`; below 1 the picture shrinks."""

    def sample(draw):
        factor = 1 + amount * draw.uniform(-1, 1)[:, 0]
        return _affine(draw.count, xx=1 / factor, yy=1 / factor)

    return Geometric(sample)


@AUGMENTATIONS.register
def shear(*, degrees: Slant) -> Geometric:
    """Slant the vertical lines by an angle uniform in ±`degrees`."""

    def sample(draw):
        return _affine(draw.count, xy=tf.tan(math.radians(degrees) * draw.uniform(-1, 1)[:, 0]))

    return Geometric(sample)


@AUGMENTATIONS.register
def brightness(*, amount: UnitInterval) -> Photometric:
    """Add to all pixels of an image a value uniform in ±`amount` of the full scale of 255."""
    return Photometric(_sample, lambda numbers, x: x + 255 * amount * numbers)


@AUGMENTATIONS.register
def contrast(*, amount: UnitInterval) -> Photometric:
    """Stretch an image's pixels about their mean, over all channels, by a factor uniform in 1 ± `amount`."""

    def apply(numbers, x):
        mean = tf.reduce_mean(x, axis=[1, 2, 3], keepdims=True)
        return mean + (x - mean) * (1 + amount * numbers)

    return Photometric(_sample, apply)


def _sample(draw: Draw) -> Tensor:
    """float32 (n, 1, 1, 1) in [-1, 1)."""
    return draw.uniform(-1, 1)[:, :1, None, None]

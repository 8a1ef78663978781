"""A split, the augmentation and the seed become batches.

The batch at (epoch, step) is a pure function of (seed, epoch, step): its order comes from a stateless permutation, its
augmentation from stateless random numbers. Nothing else decides what the model sees, so a resumed run sees what
an uninterrupted one would have seen.

Nothing here needs AutoGraph, whose conversion of all the code of an augmentation takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from cifar.augmentation import Augmentation, Batch
from cifar.distributed.shard import WHOLE, Shard
from cifar.files.rows import ImageRows
from cifar.interfaces import ALIGNMENT, Split, Task
from cifar.runtime.lazy import np, tf
from cifar.training.sampling import Order, Shuffled

if TYPE_CHECKING:
    import tensorflow


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Batches that hold `count` images; the last may be partial."""
    return -(-count // batch_size)


def training_batches(
    split: Split,
    task: Task,
    augmentation: Augmentation,
    *,
    seed: int,
    batch_size: int,
    epochs: int,
    first_epoch: int = 0,
    first_step: int = 0,
    order: Order | None = None,
    shard: Shard = WHOLE,
) -> tensorflow.data.Dataset:
    """All batches of a run from (`first_epoch`, `first_step`) to the end of epoch `epochs` - 1, both from 0.

    Yields (images, targets): uint8 (b, height, width, channels), and what `task.encode` makes of the batch's targets,
    moved and mixed as the images are.
    An epoch shows the images that `order` says, by default each once, and ends with the partial batch if there is one:
    give `steps_per_epoch` to `fit`, which takes its epochs from this one stream. Of each batch a process reads its
    `shard`.
    """
    order = order or Shuffled(len(split), seed)
    steps = steps_per_epoch(order.count, batch_size)
    take, rows_of = _taker(split, task, augmentation.resamples), _reader(order.count, batch_size, shard)

    @tf.autograph.experimental.do_not_convert
    def positions(epoch):
        positions_of_epoch = order(epoch)
        first = tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0)

        @tf.autograph.experimental.do_not_convert
        def position(step):
            return epoch, step, positions_of_epoch[step * batch_size : (step + 1) * batch_size]

        return tf.data.Dataset.range(first, steps).map(position)

    @tf.autograph.experimental.do_not_convert
    def training_batch(epoch, step, index):
        rows = rows_of(index)
        # What an image is mixed with may be one that another process reads.
        needed = tf.range(tf.size(index)) if augmentation.mixes else rows
        images, targets = take(tf.gather(index, needed))
        batch = Batch(seed, epoch, step, index)
        images, targets = augmentation.apply(images, targets, task.encode, batch, needed, split.images.shape[1:])
        return (tf.gather(images, rows), tf.gather(targets, rows)) if augmentation.mixes else (images, targets)

    total = (epochs - first_epoch) * steps - first_step
    return (
        tf.data.Dataset.range(first_epoch, epochs)
        .flat_map(positions)
        .map(training_batch, num_parallel_calls=tf.data.AUTOTUNE)
        .apply(tf.data.experimental.assert_cardinality(total))
        .prefetch(tf.data.AUTOTUNE)
    )


def evaluation_batches(split: Split, task: Task, batch_size: int, shard: Shard = WHOLE) -> tensorflow.data.Dataset:
    """The split's images in their order, as they are, and what `task.encode` makes of their targets.

    Of each batch, the process reads its `shard`.
    """
    take, rows_of = _taker(split, task), _reader(len(split), batch_size, shard)

    @tf.autograph.experimental.do_not_convert
    def evaluation_batch(step):
        first = step * batch_size
        index = tf.range(first, tf.minimum(first + batch_size, len(split)))
        images, targets = take(tf.gather(index, rows_of(index)))
        return images, task.encode(targets)

    steps = tf.data.Dataset.range(steps_per_epoch(len(split), batch_size))
    return steps.map(evaluation_batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def preview(
    split: Split,
    task: Task,
    augmentation: Augmentation,
    *,
    seed: int,
    rows: int,
    versions: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The first `rows` images of `split`, and them as a batch of training in the first `versions` epochs.

    Returns uint8 arrays (rows, height, width, channels) and (rows, versions, height, width, channels). Where the task
    is dense prediction, its targets are drawn on them.
    """
    first = split.take(np.arange(min(rows, len(split))))
    source = first.larger if augmentation.resamples and first.larger is not None else first.images
    targets = {name: tf.constant(first.targets[name]) for name in task.targets}
    encode = dict if task.is_dense else task.encode  # what is encoded can be mixed, but not drawn
    with tf.device("cpu"):
        batches = [Batch(seed, epoch, 0, tf.range(len(first))) for epoch in range(versions)]
        augmented = [augmentation.apply(tf.constant(source), targets, encode, batch, shape=first.images.shape[1:])
                     for batch in batches]  # fmt: skip
    shown = [_shown(task, *version) for version in [(first.images, targets), *augmented]]
    return shown[0], np.stack(shown[1:], axis=1)


def _shown(task: Task, images: Any, targets: Any) -> np.ndarray:
    if not task.is_dense:
        return np.asarray(images)
    return np.stack([task.draw(np.asarray(image), {name: np.asarray(values[i]) for name, values in targets.items()})
                     for i, image in enumerate(images)])  # fmt: skip


def _taker(
    split: Split, task: Task, larger: bool = False
) -> Callable[[tensorflow.Tensor], tuple[tensorflow.Tensor, dict[str, tensorflow.Tensor]]]:
    """The images at an index, the `larger` ones if there are any, and those targets of theirs that the task learns."""
    with tf.device("cpu"):
        images, rows = _shared(split.larger if larger and split.larger is not None else split.images)
        images = _uncaptured(images)
        targets = {name: _uncaptured(tf.constant(split.targets[name])) for name in task.targets}

    def take(index):
        pixels = tf.gather(images(), index if rows is None else tf.gather(rows, index))
        return pixels, {name: tf.gather(target(), index) for name, target in targets.items()}

    return take


def _uncaptured(tensor: tensorflow.Tensor) -> Callable[[], tensorflow.Tensor]:
    """A function that returns `tensor` within a graph that does not capture it.

    Of each tensor that the graph of a dataset captures, TensorFlow makes one of the same size, filled with zeros, when
    it optimizes the graph. The graph captures a list instead, whose size does not count.
    """
    described = {"element_shape": tensor.shape, "element_dtype": tensor.dtype}
    empty = tf.raw_ops.EmptyTensorList(max_num_elements=1, **described)
    held = tf.raw_ops.TensorListPushBack(input_handle=empty, tensor=tensor)
    return lambda: tf.raw_ops.TensorListGetItem(input_handle=held, index=0, **described)


def _shared(images: np.ndarray | ImageRows) -> tuple[tensorflow.Tensor, tensorflow.Tensor | None]:
    """A tensor in the memory of `images`, or a copy where TensorFlow cannot use that, and its rows; `None` for all."""
    if isinstance(images, ImageRows):
        return _shared(_unlocked(images.base))[0], tf.constant(images.rows)
    if images.ctypes.data % ALIGNMENT or not (images.flags.c_contiguous and images.flags.writeable):
        return tf.constant(images), None
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__()), None


def _unlocked(images: np.ndarray) -> np.ndarray:
    """`images` without the mark that they are read-only, with which NumPy does not share them; nothing is written."""
    interface = {**images.__array_interface__, "data": (images.ctypes.data, False)}
    return np.asarray(SimpleNamespace(__array_interface__=interface, owner=images))


def _reader(count: int, batch_size: int, shard: Shard) -> Callable[[tensorflow.Tensor], tensorflow.Tensor]:
    """The rows of a batch that this process reads, given the batch's index."""
    whole, partial = (tf.constant(shard.rows(images, batch_size)) for images in (batch_size, count % batch_size))
    return lambda index: tf.cond(tf.size(index) < batch_size, lambda: partial, lambda: whole)

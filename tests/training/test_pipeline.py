"""The batch at (epoch, step) depends on seed, epoch and step, and on nothing else."""

import hashlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar.augmentation import Augmentation, Batch
from cifar.config.registry import AUGMENTATIONS
from cifar.distributed.shard import Shard
from cifar.interfaces import Split
from cifar.training.pipeline import evaluation_batches, preview, steps_per_epoch, training_batches
from cifar.training.sampling import Balanced, permutation

COUNT, BATCH, EPOCHS = 43, 8, 3
STEPS = 6
TASK = SimpleNamespace(encode=lambda targets: tf.one_hot(targets["label"], COUNT), targets=("label",), is_dense=False)
SPLIT = Split(np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8), {"label": np.arange(COUNT)})
CHOICES = {
    entry["name"]: AUGMENTATIONS.build(entry)
    for entry in ({"name": "rotation", "degrees": 15}, {"name": "contrast", "amount": 0.2})
}
MIXUP = {"mixup": AUGMENTATIONS.build({"name": "mixup", "alpha": 1})}


def batches(choices=CHOICES, seed=5, **start):
    return training_batches(SPLIT, TASK, Augmentation(choices), seed=seed, batch_size=BATCH, epochs=EPOCHS, **start)


def arrays(dataset):
    return [(images, targets) for images, targets in dataset.as_numpy_iterator()]


def digest(dataset):
    return hashlib.sha256(b"".join(part.tobytes() for batch in arrays(dataset) for part in batch)).hexdigest()


def orders(dataset):
    """The numbers of the images in each epoch, read off the targets."""
    labels = np.concatenate([targets.argmax(axis=1) for _, targets in arrays(dataset)])
    return labels.reshape(-1, COUNT)


@pytest.fixture(scope="module")
def whole():
    return arrays(batches())


@given(st.integers(1, 10**6), st.integers(1, 10**4))
def test_steps_hold_all_images(count, batch_size):
    steps = steps_per_epoch(count, batch_size)
    assert (steps - 1) * batch_size < count <= steps * batch_size


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3000), st.integers(0, 2**40), st.integers(0, 10**4))
def test_permutation(count, seed, epoch):
    order = permutation(count, seed, epoch).numpy()
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    np.testing.assert_array_equal(order, permutation(count, seed, epoch))


def test_permutations_of_neighboring_seeds_and_epochs_are_unrelated():
    several = [permutation(20_000, seed, epoch) for seed in range(3) for epoch in range(3)] + [np.arange(20_000)]
    correlation = np.corrcoef(several) - np.eye(len(several))
    assert np.abs(correlation).max() < 0.04
    steps = np.diff(several[0])
    assert abs(np.corrcoef(steps[1:], steps[:-1])[0, 1] + 0.5) < 0.04


def test_an_epoch_shows_every_image_once_in_its_own_order(whole):
    assert [len(images) for images, _ in whole] == [8, 8, 8, 8, 8, 3] * EPOCHS
    epochs = orders(batches())
    assert [sorted(order) for order in epochs] == [list(range(COUNT))] * EPOCHS
    assert len({tuple(order) for order in epochs}) == EPOCHS
    assert batches().cardinality() == EPOCHS * STEPS


def test_a_batch_is_what_permutation_and_augmentation_make_of_seed_epoch_and_step(whole):
    for position, (images, targets) in enumerate(whole):
        epoch, step = divmod(position, STEPS)
        index = permutation(COUNT, 5, epoch).numpy()[step * BATCH : (step + 1) * BATCH]
        np.testing.assert_array_equal(targets, np.eye(COUNT)[index])
        batch = Batch(5, epoch, step, index)
        expected, _ = Augmentation(CHOICES).apply(SPLIT.images[index], {}, len, batch)
        np.testing.assert_array_equal(images, expected)


def test_augmentation_does_not_touch_the_order():
    np.testing.assert_array_equal(orders(batches()), orders(batches({})))


def test_an_alternating_flip_follows_the_images_through_the_orders():
    parts = arrays(batches({"alternating_flip": AUGMENTATIONS.build({"name": "alternating_flip"})}))
    images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    mirrored = (images != SPLIT.images[labels.argmax(axis=1)]).any(axis=(1, 2, 3)).reshape(EPOCHS, COUNT)
    first, second, third = (flips[order.argsort()] for flips, order in zip(mirrored, orders(batches()), strict=True))
    assert 0 < first.sum() < COUNT
    np.testing.assert_array_equal(second, ~first)
    np.testing.assert_array_equal(third, first)


def test_another_seed_gives_another_order():
    assert (orders(batches({})) != orders(batches({}, seed=6))).mean() > 0.9


@settings(deadline=None, max_examples=3)
@given(st.integers(0, EPOCHS - 1), st.integers(0, STEPS))
def test_a_run_may_begin_in_the_middle(whole, first_epoch, first_step):
    rest = whole[first_epoch * STEPS + first_step :]
    resumed = arrays(batches(first_epoch=first_epoch, first_step=first_step))
    assert len(resumed) == len(rest)
    for (images, targets), (expected_images, expected_targets) in zip(resumed, rest, strict=True):
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(targets, expected_targets)


def test_parallelism_changes_nothing():
    digests = set()
    for threads in (1, 2, 16):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        options.threading.max_intra_op_parallelism = threads
        options.autotune.enabled = threads > 1
        digests.add(digest(batches().with_options(options)))
    assert len(digests) == 1


@pytest.mark.slow
def test_a_fresh_process_sees_the_same_bytes():
    program = (
        "import sys, cifar.augmentation, cifar.training.pipeline; assert 'tensorflow' not in sys.modules;"
        "sys.path.insert(0, 'tests/training'); import test_pipeline as t; print(t.digest(t.batches()))"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert fresh.stdout.split() == [digest(batches())]


def test_evaluation_is_in_order_and_untouched():
    parts = arrays(evaluation_batches(SPLIT, TASK, BATCH))
    assert [len(images) for images, _ in parts] == [8, 8, 8, 8, 8, 3]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in parts]), SPLIT.images)
    np.testing.assert_array_equal(np.concatenate([targets for _, targets in parts]), np.eye(COUNT))
    assert evaluation_batches(SPLIT, TASK, BATCH).cardinality() == STEPS


def assert_shards_make_up_the_batches(choices, processes, devices_each, batch_size):
    several = [Shard(index, processes, processes * devices_each) for index in range(processes)]

    def train(shard):
        return training_batches(
            SPLIT, TASK, Augmentation(choices), seed=5, batch_size=batch_size, epochs=1, shard=shard
        )

    def evaluate(shard):
        return evaluation_batches(SPLIT, TASK, batch_size, shard)

    for batches_of in (train, evaluate):
        parts = zip(*(arrays(batches_of(shard)) for shard in several), strict=True)
        for whole, part in zip(arrays(batches_of(Shard())), parts, strict=True):
            places = several[0].places(len(whole[0]), batch_size)
            for expected, own in zip(whole, zip(*part, strict=True), strict=True):
                assert len({len(piece) for piece in own}) == 1
                np.testing.assert_array_equal(np.concatenate(own)[places], expected)


@pytest.mark.slow
@settings(deadline=None, max_examples=4)
@given(st.integers(1, 3), st.integers(1, 2), st.sampled_from([6, 12, 36, 48]))
def test_shards_of_several_processes_make_up_the_batches(processes, devices_each, batch_size):
    choices = CHOICES | {
        entry["name"]: AUGMENTATIONS.build(entry)
        for entry in ({"name": "brightness", "amount": 0.3}, {"name": "alternating_flip"})
    }
    assert_shards_make_up_the_batches(choices, processes, devices_each, batch_size)


@pytest.mark.slow
def test_shards_make_up_batches_that_are_mixed():
    choices = MIXUP | {
        entry["name"]: AUGMENTATIONS.build(entry)
        for entry in ({"name": "trivial_augment"}, {"name": "cutmix", "alpha": 1, "probability": 0.5})
    }
    assert_shards_make_up_the_batches(choices, processes=2, devices_each=2, batch_size=12)


def test_preview_is_what_training_does():
    originals, augmented = preview(SPLIT, TASK, Augmentation(CHOICES), seed=5, rows=4, versions=3)
    np.testing.assert_array_equal(originals, SPLIT.images[:4])
    assert augmented.shape == (4, 3, 8, 8, 3) and augmented.dtype == np.uint8
    for epoch in range(3):
        expected, _ = Augmentation(CHOICES).apply(originals, {}, len, Batch(5, epoch, 0, np.arange(4)))
        np.testing.assert_array_equal(augmented[:, epoch], expected)
    assert (augmented[:, 0] != augmented[:, 1]).any(axis=(1, 2, 3)).all()


def test_preview_shows_what_is_mixed():
    originals, augmented = preview(SPLIT, TASK, Augmentation(MIXUP), seed=5, rows=4, versions=3)
    for epoch in range(3):
        batch = Batch(5, epoch, 0, np.arange(4))
        _, shares = Augmentation(MIXUP).apply(originals, {}, lambda _: np.eye(4, dtype=np.float32), batch)
        np.testing.assert_allclose(augmented[:, epoch], np.einsum("ij,jhwc->ihwc", shares, originals), atol=0.501)


def test_images_and_targets_are_mixed_alike():
    for images, targets in arrays(batches(MIXUP)):
        np.testing.assert_allclose(images, np.einsum("ij,jhwc->ihwc", targets, SPLIT.images), atol=0.501)


def test_preview_without_augmentation():
    originals, augmented = preview(SPLIT, TASK, Augmentation({}), seed=5, rows=2, versions=3)
    np.testing.assert_array_equal(augmented, np.repeat(originals[:, None], 3, axis=1))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.integers(0, 2**31 - 1), st.integers(0, 50))
def test_balanced_epochs_show_each_class_as_often(counts, seed, epoch):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 2, counts))
    order = Balanced(labels, seed)
    found = [order(number).numpy() for number in (epoch, epoch + 1)]
    for index in found:
        assert order.count == len(index) == len(counts) * (len(labels) // len(counts))
        shown = np.bincount(labels[index], minlength=2 * len(counts))[::2]
        assert (shown == order.each).all()
    for label in np.unique(labels):  # the images of a class take turns
        times = np.bincount(np.concatenate(found), minlength=len(labels))[labels == label]
        assert times.max() - times.min() <= 1
    assert np.array_equal(found[0], Balanced(labels, seed)(epoch))


def test_a_balanced_run_may_begin_in_the_middle():
    split = Split(SPLIT.images, {"label": np.repeat(np.arange(3), [30, 10, 3])})
    task = SimpleNamespace(encode=lambda targets: targets["label"], targets=("label",), is_dense=False)
    common = {"seed": 5, "batch_size": BATCH, "epochs": EPOCHS, "order": Balanced(split.targets["label"], 5)}
    whole = arrays(training_batches(split, task, Augmentation({}), **common))
    assert np.bincount(np.concatenate([labels for _, labels in whole])).tolist() == [14 * EPOCHS] * 3
    rest = arrays(training_batches(split, task, Augmentation({}), first_epoch=1, first_step=2, **common))
    for one, other in zip(rest, whole[STEPS + 2 :], strict=True):
        assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))

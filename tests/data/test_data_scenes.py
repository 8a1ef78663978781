"""Scenes: that boxes, masks and pixels agree, and what a scene depends on."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from cifar.config.registry import DATASETS
from cifar.data.scenes import builder, cutouts
from cifar.data.scenes.counter_rng import CounterRNG
from cifar.data.scenes.textures import textured
from cifar.interfaces import Split
from cifar.runtime.errors import InputError
from helpers.processes import run_python
from helpers.runs import composed


def build(*overrides, seed=0, **counts):
    found = OmegaConf.to_container(composed("data=scenes", "data@data.source=digits", *overrides).data)
    return DATASETS.build({**found, "num_train": 40, "num_val": 3, "num_test": 3, **counts}, seed=seed)


def source(images) -> Split:
    """Images of one pixel value each, which is also their class."""
    return Split(images, {"label": images[:, 0, 0, 0].astype(np.int64)})


LAYOUTS = st.builds(
    lambda size, objects, scales, visible: builder.Layout(size, objects, *sorted(size * x for x in scales), visible),
    st.integers(16, 70), st.integers(1, 6), st.tuples(st.floats(0.3, 1), st.floats(0.3, 1)), st.floats(0, 1),
)  # fmt: skip


@given(LAYOUTS, st.integers(0, 2**31 - 1), st.sampled_from([(8, 8), (5, 9), (12, 7)]))
@settings(max_examples=30, deadline=None)
def test_boxes_are_the_extent_of_what_is_seen(layout, seed, sides):
    values = np.arange(40, 50, dtype=np.uint8)[:, None, None, None]
    images = source(np.tile(values, (1, *sides, 1)))
    plain, instances, classes = builder.draw_block(images, layout, CounterRNG((seed, 0), 0, 4))
    found = builder.annotate(instances, classes)
    for row in range(4):
        numbers = [number for number in range(1, layout.objects + 1) if (instances[row] == number).any()]
        assert numbers and (found["classes"][row] >= 0).sum() == len(numbers)
        for place, number in enumerate(numbers):
            ys, xs = np.nonzero(instances[row] == number)
            expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            assert found["boxes"][row, place].tolist() == expected
            assert found["classes"][row, place] == classes[row, number - 1]
            assert max(expected[2] - expected[0], expected[3] - expected[1]) <= layout.largest + 1
            assert (found["mask"][row][instances[row] == number] == classes[row, number - 1] + 1).all()
        assert not found["boxes"][row, len(numbers) :].any() and (found["classes"][row, len(numbers) :] == -1).all()
        assert (found["mask"][row][instances[row] == 0] == 0).all()
    # What is well within an object has the one value that its image has.
    around = np.lib.stride_tricks.sliding_window_view(instances, (5, 5), axis=(1, 2))
    row, y, x = np.nonzero((around == around[..., 2:3, 2:3]).all(axis=(3, 4)) & (around[..., 2, 2] > 0))
    assert (plain[row, y + 2, x + 2, 0] == classes[row, instances[row, y + 2, x + 2] - 1]).all()


@given(LAYOUTS, st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_enough_of_each_object_is_seen(layout, seed):
    """Each object alone, drawn from the same numbers, against what is left of it in the scene."""
    images = source(np.full((3, 8, 8, 1), 7, np.uint8))
    claimed = []
    place = builder.Canvas.place

    def spy(self, row, corner, inside, number):
        accepted = place(self, row, corner, inside, number)
        if accepted:
            claimed.append((row, number, np.count_nonzero(inside)))
        return accepted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder.Canvas, "place", spy)
        _, instances, _ = builder.draw_block(images, layout, CounterRNG((seed, 0), 0, 4))
    assert {row for row, _, _ in claimed} == set(range(4))
    for row, number, whole in claimed:
        assert np.count_nonzero(instances[row] == number) >= layout.min_visible * whole


def test_a_scene_depends_on_nothing_but_its_number_and_the_seed(monkeypatch):
    dataset = build()
    for counts in ({"num_train": 7}, {"num_train": 300, "num_val": 9, "num_test": 2}, {"limit": 2}):
        other = build(**counts)
        for mine, others in ((dataset.train, other.train), (dataset.val, other.val), (dataset.test, other.test)):
            common = min(len(mine), len(others))
            assert np.array_equal(mine.images[:common], others.images[:common])
            for name, target in mine.targets.items():
                assert np.array_equal(target[:common], others.targets[name][:common])
    monkeypatch.setattr(builder, "BLOCK", 64 * 64 * 3)
    assert build().fingerprint == dataset.fingerprint
    other = build(seed=1)
    assert other.test_fingerprint == dataset.test_fingerprint
    assert not (other.train.images == dataset.train.images).all(axis=(1, 2, 3)).any()


SCRIPT = """
import json, sys
from cifar.config.registry import DATASETS
print(DATASETS.build(json.loads(sys.argv[1]), seed=5).fingerprint)
"""


def test_scenes_are_the_same_on_other_processors():
    """Numpy and its BLAS then choose the instructions of other processors, with other last bits."""
    stated = OmegaConf.to_container(composed("data=scenes", "data@data.source=digits").data)
    settings = json.dumps({**stated, "num_train": 100, "num_val": 3, "num_test": 3})
    older = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4", "OPENBLAS_CORETYPE": "Nehalem"}
    found = [run_python("-W", "ignore", "-c", SCRIPT, settings, **variables) for variables in ({}, older)]
    assert [done.code for done in found] == [0, 0], found
    assert found[0].stdout == found[1].stdout != ""


def test_objects_come_from_the_matching_split(monkeypatch):
    taken = []
    compose = builder.compose
    monkeypatch.setattr(builder, "compose", lambda source, *rest: taken.append(source) or compose(source, *rest))
    dataset = build(seed=3)
    digits = DATASETS.build(OmegaConf.to_container(composed("data=digits").data), seed=3)
    for split, own in zip(taken, (digits.train, digits.val, digits.test), strict=True):
        assert np.array_equal(split.images, own.images)
    assert dataset.class_names == digits.class_names and dataset.image_shape == (64, 64, 1)


def test_targets():
    dataset = build("data.objects=1", num_train=200)
    targets = dataset.train.targets
    assert {name: (array.dtype, array.shape) for name, array in targets.items()} == {
        "boxes": (np.float32, (200, 1, 4)), "classes": (np.int64, (200, 1)), "crowd": (bool, (200, 1)),
        "mask": (np.uint8, (200, 64, 64)),
    }  # fmt: skip
    assert set(np.unique(targets["classes"])) == set(range(10)) and not targets["crowd"].any()
    counts = (build(num_train=300).train.targets["classes"] >= 0).sum(axis=1)
    assert counts.min() == 1 and (np.bincount(counts, minlength=4)[1:] > 60).all()


@pytest.mark.parametrize("side", [4, 6, 8, 14, 22])
def test_resizing_is_that_of_pillow(side):
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
    found = cutouts.resized(image, np.full((1, 2), side, np.float32), 24)[0].transpose(1, 2, 0)
    inner = slice(12 - side // 2, 12 + side // 2)
    expected = Image.fromarray(image[0]).resize((side, side), Image.Resampling.BILINEAR)
    assert np.abs(found[inner, inner] - np.asarray(expected)).max() < 2


def test_shapes_differ_and_fill_their_frame():
    sides = np.tile(np.float32([24, 32]), (300, 1))
    cover = cutouts.shapes(CounterRNG((0, 0), 0, 300)(cutouts.SHAPE_NUMBERS), sides, 36)
    assert cover.min() == 0 and cover.max() == 1
    area = cover.sum(axis=(1, 2)) / (24 * 32)
    assert 0.4 < area.min() < 0.6 and 0.8 < area.max() < 0.9
    assert cover[:, :5].max() == cover[:, :, :1].max() == 0  # 24 of 36 rows, 32 of 36 columns
    assert ((cover > 0) & (cover < 1)).any(axis=(1, 2)).all()


def test_backgrounds_are_varied():
    images = textured(CounterRNG((0, 0), 0, 200), 32, 3)
    assert images.min() >= 0 and images.max() <= 255
    spread = images.std(axis=(1, 2, 3))
    assert np.percentile(spread, 5) > 5 and images.mean(axis=(1, 2, 3)).std() > 15


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data.min_scale=0.6"], "data.min_scale=0.6: is greater than data.max_scale=0.5"),
        (["data.min_scale=0.05"], "data.min_scale=0.05: objects of less than 4 pixels; .*at least 0.0625"),
        (["data.max_scale=1.5"], "data.max_scale=1.5: should be less than or equal to 1"),
        (["data.objects=0"], "data.objects=0: should be greater than or equal to 1"),
        (["data.objects=255"], "data.objects=255: should be less than or equal to 254"),
        (["data.source.test_fraction=2"], "data.source.test_fraction=2: should be less than 1"),
        (["data.source.val_fraction=0.001"], "data.source: data.val_fraction=0.001: leaves one part"),
        (["data.source=digits"], "data.source=digits: should be its settings; choose .* data@data.source=digits"),
    ],
)
def test_mistakes(overrides, expected):
    with pytest.raises(InputError, match=expected) as caught:
        build(*overrides)
    assert "\n" not in str(caught.value)


def test_source_without_labels():
    scenes = OmegaConf.to_container(composed("data=scenes", "data@data.source=digits").data)
    few = {**scenes, "num_train": 2, "num_val": 1, "num_test": 1}
    with pytest.raises(InputError, match=re.escape("data.source.name=scenes: its images have no labels")):
        build(source=few)

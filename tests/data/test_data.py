"""Data sets: what each holds, and where its splits are cut."""

from __future__ import annotations

import functools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from omegaconf import OmegaConf

from cifar.config.registry import DATASETS
from cifar.data import cifar
from cifar.data.splits import stratified_split, subset
from cifar.runtime.errors import InputError
from helpers.annotated_files import WRITERS
from helpers.data_files import (
    write_archive,
    write_cifar10_1,
    write_cifar10_c,
    write_folder,
    write_pickled,
    write_soft,
    write_table,
)
from helpers.runs import composed


@pytest.fixture
def settings(request, tmp_path):
    """The settings of `name`'s YAML, with a small source."""
    name = request.getfixturevalue("name")
    found = stated(name)
    if name == "scenes":
        return {**found, "source": stated("digits"), "num_train": 30, "num_val": 20, "num_test": 20}
    sources = {"cifar10": lambda: write_pickled(tmp_path, cifar.CIFAR10),
               "cifar100": lambda: write_archive(tmp_path, cifar.CIFAR100, each=10),
               "folder": lambda: write_folder(tmp_path),
               "table": lambda: write_table(tmp_path),
               "cifar10_1": lambda: write_cifar10_1(tmp_path),
               "cifar10_c": lambda: write_cifar10_c(tmp_path),
               "cifar10h": lambda: write_pickled(tmp_path, cifar.CIFAR10),
               **{kind: functools.partial(write, tmp_path) for kind, write in WRITERS.items()}}  # fmt: skip
    if name in sources:
        found["path"] = str(sources[name]())
    more = {"cifar10_c": {"corruption": "fog", "severity": 2}, "cifar10h": {"soft_labels": str(write_soft(tmp_path))}}
    return {**found, **({"val_fraction": 0.25} if "val_fraction" in found else {}), **more.get(name, {})}


def stated(name) -> dict:
    """The settings that `data=name` composes."""
    return OmegaConf.to_container(composed(f"data={name}").data)


def unique(split) -> set[bytes]:
    return {image.tobytes() for image in split.images}


# Every data set


@pytest.mark.parametrize("name", DATASETS.names())
def test_yaml_states_every_setting(name):
    found = stated(name)
    assert set(found) == {"name", *DATASETS.record(name).model_fields}
    assert found["name"] == name


TEST_ONLY = ("cifar10_1", "cifar10_c", "cifar10h")


@pytest.mark.parametrize("name", [name for name in DATASETS.names() if name not in TEST_ONLY])
def test_builds(name, settings):
    dataset = DATASETS.build(settings, seed=0)
    for split in (dataset.train, dataset.val, dataset.test):
        assert len(split) and split.images.shape[1:] == dataset.image_shape
        assert np.asarray(split.images).flags.c_contiguous
        if "label" in split.targets:
            label = split.targets["label"]
            assert label.dtype == np.int64 and label.shape == (len(split),)
            assert label.min() >= 0 and label.max() < len(dataset.class_names)
    assert unique(dataset.train).isdisjoint(unique(dataset.test))
    assert unique(dataset.train).isdisjoint(unique(dataset.val))
    assert DATASETS.build(settings, seed=0).fingerprint == dataset.fingerprint
    other = DATASETS.build(settings, seed=1)
    assert other.fingerprint != dataset.fingerprint
    assert other.test_fingerprint == dataset.test_fingerprint
    assert np.array_equal(other.test.images, dataset.test.images)
    if name != "scenes":  # each seed composes its own
        assert unique(other.train) | unique(other.val) == unique(dataset.train) | unique(dataset.val)


@pytest.mark.parametrize("name", TEST_ONLY)
def test_has_test_images_only(name, settings):
    dataset = DATASETS.build(settings, seed=0)
    assert (len(dataset.train), len(dataset.val), dataset.image_shape) == (0, 0, (32, 32, 3))
    assert len(dataset.test) and dataset.test.images.flags.c_contiguous and dataset.class_names[0] == "airplane"
    assert dataset.test.targets["label"].dtype == np.int64
    assert DATASETS.build(settings, seed=0).fingerprint == dataset.fingerprint
    assert len(DATASETS.build({**settings, "limit": 10}, seed=0).test) == 10
    with pytest.raises(InputError, match=rf"^data={name}.*: has test images only; `.* evaluate`"):
        dataset.require_targets("label")


@pytest.mark.parametrize("name", [name for name in DATASETS.names() if "val_fraction" in stated(name)])
def test_limit(name, settings):
    whole = DATASETS.build(settings, seed=0)
    limit = 4 * len(whole.class_names)
    dataset = DATASETS.build({**settings, "limit": limit, "val_fraction": 0.25}, seed=0)
    assert len(dataset.train) + len(dataset.val) <= limit and len(dataset.test) <= limit
    assert unique(dataset.train) <= unique(whole.train) | unique(whole.val)
    assert unique(dataset.test) <= unique(whole.test)


def test_importing_the_builders_loads_no_heavy_library():
    code = "import sys; from cifar.config.registry import DATASETS; DATASETS.names(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "keras", "sklearn", "PIL", "matplotlib"} & set(loaded)


# Splits

LABELS = arrays.arrays(np.int64, st.integers(20, 200), elements=st.integers(0, 4)).map(
    lambda labels: np.concatenate([labels, np.arange(5).repeat(4)])
)


@given(LABELS, st.floats(0.15, 0.85), st.integers(0, 2**32))
def test_cut_is_stratified(labels, fraction, seed):
    rest, cut = stratified_split(labels, fraction, seed, "abcde", "data.val_fraction")
    assert np.array_equal(np.sort(np.concatenate([rest, cut])), np.arange(len(labels)))
    assert (np.diff(rest) > 0).all() and (np.diff(cut) > 0).all()
    counts = np.bincount(labels)
    assert (np.abs(np.bincount(labels[cut]) - counts * fraction) < 1).all()
    again = stratified_split(labels, fraction, seed, "abcde", "data.val_fraction")
    assert np.array_equal(rest, again[0]) and np.array_equal(cut, again[1])


def test_cut_depends_on_the_seed_and_on_nothing_else():
    labels = np.arange(12) % 2
    cut = [stratified_split(labels, 0.5, seed, "ab", "data.val_fraction")[1].tolist() for seed in range(3)]
    assert cut == [[1, 2, 3, 6, 8, 11], [0, 2, 4, 5, 7, 9], [0, 3, 6, 7, 8, 11]]


@pytest.mark.parametrize(("fraction", "count"), [(0.04, 10), (0.96, 10), (0.5, 1)])
def test_cut_refuses_empty_parts(fraction, count):
    labels = np.array([0] * 100 + [1] * count)
    with pytest.raises(InputError, match=f"data.val_fraction={fraction}: .*class 'b'.* {count} images.*accepted"):
        stratified_split(labels, fraction, 0, "ab", "data.val_fraction")


@given(LABELS, st.integers(1, 300))
def test_subset_keeps_the_proportions_and_lies_in_the_larger_one(labels, limit):
    kept = subset(labels, limit)
    assert len(kept) == min(limit, len(labels)) and (np.diff(kept) > 0).all()
    assert set(kept) <= set(subset(labels, limit + 1))
    counts, taken = np.bincount(labels), np.bincount(labels[kept], minlength=5)
    left = taken < counts
    if left.any():  # no class is ahead of another by more than one image
        assert ((taken - 0.5) / counts).max() <= ((taken + 0.5) / counts)[left].min()


def test_digits_test_split_is_stratified():
    dataset = DATASETS.build({"name": "digits", "test_fraction": 0.2, "val_fraction": 0.1, "limit": None}, seed=3)
    assert dataset.image_shape == (8, 8, 1) and dataset.test.images.max() == 255
    sizes = [len(split) for split in (dataset.train, dataset.val, dataset.test)]
    assert sum(sizes) == 1797 and abs(sizes[2] - 359) <= 5 and abs(sizes[1] - 144) <= 5

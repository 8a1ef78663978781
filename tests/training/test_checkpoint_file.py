"""The state of a training on disk."""

import errno
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar.runtime.errors import TrainingError
from cifar.training import checkpoint_file
from cifar.training.checkpoint_file import State


def example(epoch: int) -> State:
    arrays = {"model/000000": np.full((50, 40), epoch, np.float32), "metrics/000000": np.float32(0.5).reshape(())}
    return State(epoch, 3, arrays, {"history": {"val/loss": [0.1 * epoch, float("nan")]}, "stopped": False})


def assert_same(left: State, right: State) -> None:
    assert (left.epoch, left.step) == (right.epoch, right.step)
    np.testing.assert_equal(left.values, right.values)
    assert left.arrays.keys() == right.arrays.keys()
    for name, array in left.arrays.items():
        assert array.dtype == right.arrays[name].dtype
        np.testing.assert_array_equal(array, right.arrays[name])


def test_what_was_saved_is_loaded(tmp_path):
    checkpoint_file.save(example(1), tmp_path)
    assert_same(checkpoint_file.load(tmp_path), example(1))


def test_nothing_saved_is_the_very_beginning(tmp_path):
    assert_same(checkpoint_file.load(tmp_path / "not there"), State())


def test_the_last_two_are_kept(tmp_path):
    for epoch in (1, 2, 3, 10):
        checkpoint_file.save(example(epoch), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000003-00000003.json", "000003-00000003.npz", "000010-00000003.json", "000010-00000003.npz"
    ]  # fmt: skip


def test_only_states_are_read_and_dropped(tmp_path, capsys):
    others = ["0.json", "notes.json", "notes.npz", "000001-00000003.txt"]
    for name in others:
        (tmp_path / name).write_text("not a state")
    for epoch in (1, 2, 3):
        checkpoint_file.save(example(epoch), tmp_path)
    assert_same(checkpoint_file.load(tmp_path), example(3))
    assert capsys.readouterr().err == ""
    assert all((tmp_path / name).read_text() == "not a state" for name in others)
    assert len(list(tmp_path.iterdir())) == len(others) + 4


def test_what_a_sigkill_left_of_a_state_goes_with_the_next(tmp_path):
    half = tmp_path / "000001-00000002.npz"
    half.write_bytes(b"without its manifest")
    for epoch in (1, 2):
        checkpoint_file.save(example(epoch), tmp_path)
    assert not half.exists()


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_truncated_state_falls_back_to_the_one_before_with_one_warning(tmp_path, capsys, suffix):
    for epoch in (1, 2):
        checkpoint_file.save(example(epoch), tmp_path)
    newest = tmp_path / f"000002-00000003{suffix}"
    content = newest.read_bytes()
    for offset in np.linspace(0, len(content) - 1, 50, dtype=int):
        newest.write_bytes(content[:offset])
        assert_same(checkpoint_file.load(tmp_path), example(1))
        warning = capsys.readouterr().err
        assert warning.count("\n") == 1
        assert "000002-00000003.npz" in warning
        assert "epoch 2, step 4" in warning


@given(st.integers(min_value=0), st.integers(1, 255))
@settings(max_examples=50, deadline=None)
def test_a_changed_byte_is_never_loaded(tmp_path_factory, position, difference):
    folder = tmp_path_factory.mktemp("state")
    for epoch in (1, 2):
        checkpoint_file.save(example(epoch), folder)
    path = folder / "000002-00000003.npz"
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= difference
    path.write_bytes(content)
    assert_same(checkpoint_file.load(folder), example(1))


def test_a_full_disk_is_told_and_the_earlier_state_still_loads(tmp_path, monkeypatch):
    checkpoint_file.save(example(1), tmp_path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"000002-00000003\.npz: the disk is full, [\d,]+ bytes are wanted"):
        checkpoint_file.save(example(2), tmp_path)
    assert_same(checkpoint_file.load(tmp_path), example(1))
    assert {path.stem for path in tmp_path.iterdir()} == {"000001-00000003"}

"""Files in memory: HDF5 writes to them as to any path, and nothing is left of them."""

from __future__ import annotations

import h5py
import numpy as np

from cifar.files.memory_file import memory_file


def test_hdf5_writes_to_it_and_nothing_is_left(tmp_path):
    copy = tmp_path / "copy.h5"
    with memory_file("weights.h5") as path:
        for size in (1000, 10):
            with h5py.File(path, "w") as stored:
                stored["x"] = np.arange(size)
        copy.write_bytes(path.read_bytes())
    with h5py.File(copy) as stored:
        assert np.array_equal(stored["x"], np.arange(10))
    assert not path.parent.exists()

"""Other test images for models of CIFAR-10, and people's answers about its own."""

from __future__ import annotations

import numpy as np
import pytest

from cifar.config.registry import DATASETS
from cifar.data import cifar
from cifar.data.corruptions import KINDS
from cifar.runtime.errors import InputError
from helpers.data_files import write_cifar10_1, write_cifar10_c, write_pickled, write_soft


def test_versions_of_cifar10_1(tmp_path):
    path = str(write_cifar10_1(tmp_path))
    sizes = [len(DATASETS.build({"name": "cifar10_1", "path": path, "version": version, "limit": None}).test)
             for version in ("v4", "v6")]  # fmt: skip
    assert sizes == [21, 20]
    (tmp_path / "cifar10.1_v6_labels.npy").unlink()
    with pytest.raises(InputError, match=r"labels\.npy: no such file; accepted for data\.path: a folder with cifar10"):
        DATASETS.build({"name": "cifar10_1", "path": path, "version": "v6", "limit": None})


def test_severities_of_cifar10_c_follow_each_other_in_a_file(tmp_path):
    path = str(write_cifar10_c(tmp_path))
    for kind, severity in (("gaussian_noise", 1), ("jpeg_compression", 5)):
        stated = {"name": "cifar10_c", "path": path, "corruption": kind, "severity": severity, "limit": None}
        dataset = DATASETS.build(stated)
        assert np.unique(dataset.test.images).tolist() == [10 * KINDS.index(kind) + severity]
        assert dataset.test.targets["label"].tolist() == (np.arange(20) % 10).tolist()
    for missing in ("corruption", "severity"):
        with pytest.raises(InputError, match=rf"^data\.{missing}: null stands for all"):
            DATASETS.build({**stated, missing: None})
    np.save(tmp_path / "fog.npy", np.zeros((99, 32, 32, 3), np.uint8))
    with pytest.raises(InputError, match=r"fog\.npy has 99 images, labels\.npy 100 labels"):
        DATASETS.build({**stated, "corruption": "fog"})


def test_people_s_answers_are_shares_and_must_be_about_these_images(tmp_path):
    stated = {"name": "cifar10h", "path": str(write_pickled(tmp_path, cifar.CIFAR10)), "limit": None}
    source = write_soft(tmp_path)
    test = DATASETS.build({**stated, "soft_labels": str(source)}).test
    shares, labels = test.targets["soft_label"], test.targets["label"]
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(shares[np.arange(len(labels)), labels], 46 / 51, rtol=1e-6)
    np.save(source, np.roll(np.load(source), 1, axis=1))
    with pytest.raises(InputError, match="people agree with the label of 0 % of the images"):
        DATASETS.build({**stated, "soft_labels": str(source)})
    np.save(source, np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"counts\.npy: cannot be read .* accepted: floats or counts \(\d+, 10\)"):
        DATASETS.build({**stated, "soft_labels": str(source)})

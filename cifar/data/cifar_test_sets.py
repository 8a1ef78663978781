"""Published test images for models of CIFAR-10: CIFAR-10.1, CIFAR-10-C and CIFAR-10H. They have no training images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt
from cifar.data.cifar import CIFAR10, cifar10_test
from cifar.data.corruptions import SEVERITIES, Kind
from cifar.data.splits import checked_labels, test_only
from cifar.files.safe_io import npy_array, refusing
from cifar.interfaces import Dataset, Split
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

AGREEMENT = 0.9
"""Minimum share of images whose most frequent answer by people is their label; in CIFAR-10H it is 0.99."""


@DATASETS.register
def cifar10_1(*, path: str, version: Literal["v6", "v4"], limit: PositiveInt | None) -> Dataset:
    """CIFAR-10.1: 2,000 (v6) or 2,021 (v4) new test images in the classes of CIFAR-10.

    `path` is the folder of `cifar10.1_v6_data.npy` and `cifar10.1_v6_labels.npy`, as published in
    https://github.com/modestyachts/CIFAR-10.1. Source: Recht et al., "Do CIFAR-10 Classifiers Generalize to CIFAR-10?",
    2018, arXiv:1806.00451. Raises `InputError` for other files.
    """
    names = [f"cifar10.1_{version}_{part}.npy" for part in ("data", "labels")]
    images, labels = _arrays(Path(path), names)
    return test_only("cifar10_1", _split(images, labels, Path(path)), CIFAR10.class_names, limit)


@DATASETS.register
def cifar10_c(
    *,
    path: str,
    corruption: Kind | None,
    severity: Annotated[int, Field(ge=1, le=SEVERITIES)] | None,
    limit: PositiveInt | None,
) -> Dataset:
    """One `corruption` of CIFAR-10-C at one `severity`: the 10,000 test images of CIFAR-10, corrupted.

    `path` is the folder of `gaussian_noise.npy`, …, `labels.npy`, as published in https://zenodo.org/records/2535967:
    each holds the images of severities 1 to 5, one after the other. Source: Hendrycks and Dietterich, "Benchmarking
    Neural Network Robustness to Common Corruptions and Perturbations", 2019, arXiv:1903.12261. Raises `InputError` for
    other files, and without corruption or severity.
    """
    if corruption is None or severity is None:
        missing = "corruption" if corruption is None else "severity"
        raise InputError(f"data.{missing}: null stands for all, which only the command evaluate takes; accepted: one")
    images, labels = _arrays(Path(path), [f"{corruption}.npy", "labels.npy"])
    if len(images) % SEVERITIES or len(images) != len(labels):
        raise InputError(
            f"{path}: {corruption}.npy has {len(images)} images, labels.npy {len(labels)} labels; accepted: as many, "
            f"for {SEVERITIES} severities"
        )
    part = slice((severity - 1) * len(images) // SEVERITIES, severity * len(images) // SEVERITIES)
    split = _split(images[part], labels[part], Path(path))
    return test_only(f"cifar10_c.{corruption}.{severity}", split, CIFAR10.class_names, limit)


@DATASETS.register
def cifar10h(*, path: str | None, soft_labels: str, limit: PositiveInt | None) -> Dataset:
    """CIFAR-10's test images with the share of people who chose each class, about 51 for an image, as `soft_label`.

    `path` is that of CIFAR-10, `soft_labels` that of `cifar10h-probs.npy` or `cifar10h-counts.npy`, as published in
    https://github.com/jcpeterson/cifar-10h. Source: Peterson et al., "Human uncertainty makes classification more
    robust", 2019, arXiv:1908.07086. Raises `InputError` for other files, and for answers about other images.
    """
    test = cifar10_test(path)
    source = Path(soft_labels).expanduser()
    accepted = f"floats or counts ({len(test)}, {len(CIFAR10.class_names)})"
    with refusing(source, accepted):
        answers = np.asarray(npy_array(source), np.float64)
        shares = answers / answers.sum(axis=1, keepdims=True)
        if shares.shape != (len(test), len(CIFAR10.class_names)) or not (shares >= 0).all():
            raise ValueError(f"it has {answers.dtype} of shape {answers.shape}")
    agreement = (shares.argmax(axis=1) == test.targets["label"]).mean()
    if agreement < AGREEMENT:
        raise InputError(
            f"{source}: people agree with the label of {100 * agreement:.0f} % of the images, which are others than "
            "those of data.path then; accepted: CIFAR-10's test images in their order"
        )
    split = Split(test.images, {**test.targets, "soft_label": shares.astype(np.float32)}, test.ids)
    return test_only("cifar10h", split, CIFAR10.class_names, limit)


def _arrays(folder: Path, names: list[str]) -> list[np.ndarray]:
    """The arrays of the files `names` in `folder`, mapped into memory; raises `InputError`."""
    arrays = []
    for name in names:
        file = folder.expanduser() / name
        if not file.is_file():
            raise InputError(f"{file}: no such file; accepted for data.path: a folder with {' and '.join(names)}")
        with refusing(file, "the published file"):
            arrays.append(npy_array(file))
    return arrays


def _split(images: np.ndarray, labels: np.ndarray, where: Path) -> Split:
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        raise InputError(f"{where}: images are {images.dtype} {images.shape}; accepted: uint8 (n, 32, 32, 3)")
    labels = checked_labels(np.asarray(labels), len(images), len(CIFAR10.class_names), where)
    return Split(np.ascontiguousarray(images), {"label": labels})

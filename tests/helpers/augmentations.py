"""Augmentations as their YAML has them, on noise."""

from __future__ import annotations

import operator
from pathlib import Path

import numpy as np
import yaml
from hypothesis import strategies as st

from cifar.augmentation import Augmentation, Batch
from cifar.config.registry import AUGMENTATIONS

CONF = Path(__file__).parents[2] / "conf" / "augmentation"
YAML = {path.stem: yaml.safe_load(path.read_text()) for path in CONF.glob("*.yaml")}

moments = st.tuples(st.integers(0, 2**40), st.integers(0, 1000), st.integers(0, 100_000))


def build(*names, **changed):
    """The named transforms as their YAML has them, in this order; `changed` gives other settings to some."""
    return {name: AUGMENTATIONS.build({"name": name, **YAML[name][name], **changed.get(name, {})}) for name in names}


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def blended(images, transforms, moment=(0, 0, 0), fill_mode="nearest"):
    """`images` as the first of their split after `transforms`, and float32 (n, n): of which images each is made.

    `moment` is (seed, epoch, step).
    """
    index = np.arange(len(images))
    return Augmentation(transforms, fill_mode).apply(
        images, {"row": np.eye(len(images), dtype=np.float32)}, operator.itemgetter("row"), Batch(*moment, index)
    )

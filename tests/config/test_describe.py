"""Descriptions of settings: each has one, and its type is that of the record."""

from __future__ import annotations

import pytest

from cifar.config import describe
from cifar.config.builders import parameters_of
from cifar.config.describe import Description
from cifar.config.registry import ALL, AUGMENTATIONS, DATASETS, MODELS, OPTIMIZERS, TASKS

BUILDERS = [
    pytest.param(registry, name, id=f"{registry.group}-{name}") for registry in ALL for name in registry.names()
]
COMPOSED = {"source"}
"""Settings that another YAML file states."""


@pytest.mark.parametrize(("registry", "name"), BUILDERS)
def test_every_setting_of_a_builder_is_described(registry, name):
    found = describe.of_choice(registry, name)
    assert {key.partition(".")[0] for key in found} >= {*parameters_of(registry.record(name).builder)[1]} - COMPOSED
    assert [key for key, one in found.items() if not one.text] == []


def test_every_root_setting_is_described():
    found = describe.of_root()
    assert {
        "seed",
        "epochs",
        "finetune.lr",
        "evaluate.tta",
        "data.exclude",
        "data.folds",
        "tracking.uri",
        "objective",
    } <= found.keys()
    assert [key for key, one in found.items() if not one.text] == []


@pytest.mark.parametrize(
    ("registry", "name", "key", "expected"),
    [
        (OPTIMIZERS, "adam", "lr", ("number", "> 0", (), 0.006)),
        (OPTIMIZERS, "adam", "clip_norm", ("number or null", "> 0", (), None)),
        (TASKS, "classification", "loss", ("name", "", ("cross_entropy", "focal"), "cross_entropy")),
        (DATASETS, "folder", "path", ("text", "", (), describe.REQUIRED)),
        (AUGMENTATIONS, "flip", "horizontal", ("true or false", "", (), True)),
        (MODELS, "cnn3", "classifier.pooling", ("name", "", ("flatten", "average", "max"), "flatten")),
        (MODELS, "cnn3", "filters", ("list of integer", "> 0", (), [32, 64, 128])),
    ],
)
def test_type_bounds_choices_and_default(registry, name, key, expected):
    found = describe.of_choice(registry, name)[key]
    assert isinstance(found, Description)
    assert found[1:] == expected

"""Descriptions of settings: each has one, and its type is that of the record."""

from __future__ import annotations

import pytest

from cifar.config import choices, describe
from cifar.config.builders import parameters_of
from cifar.config.describe import Description
from cifar.config.registry import ALL

BUILDERS = [
    pytest.param(registry, name, id=f"{registry.group}-{name}") for registry in ALL for name in registry.names()
]
COMPOSED = {"source"}
"""Settings that another YAML file states."""


@pytest.mark.parametrize(("registry", "name"), BUILDERS)
def test_every_setting_of_a_builder_is_described(registry, name):
    found = describe.of_choice(registry.group, name)
    assert {key.partition(".")[0] for key in found} >= {*parameters_of(registry.record(name).builder)[1]} - COMPOSED


def test_every_group_choice_and_setting_is_described():
    for group in choices.groups().values():
        assert group.text
        assert {*group.defaults} <= {*choices.names(group.name)}
        for name in choices.names(group.name):
            assert choices.text(group.name, name), name
            assert [key for key, one in describe.of_choice(group.name, name).items() if not one.text] == []


def test_choice_that_builds_on_another_has_its_settings_and_says_what_differs():
    assert choices.text("model", "resnet110") == "resnet with depth=110"
    assert describe.of_choice("model", "resnet18")["filters"].default == [64, 128, 256, 512]
    assert describe.of_choice("model", "resnet18")["attention"] == describe.of_choice("model", "resnet")["attention"]


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


def test_choice_that_nothing_describes_has_an_empty_text(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("epochs: 3\n")
    monkeypatch.setattr(choices, "path", lambda group, name: tmp_path / f"{name}.yaml")
    assert choices.text("experiment", "mine") == ""


@pytest.mark.parametrize(
    ("group", "name", "key", "expected"),
    [
        ("optimizer", "adam", "lr", ("number", "> 0", (), 0.006)),
        ("optimizer", "adam", "clip_norm", ("number or null", "> 0", (), None)),
        ("task", "classification", "loss", ("name", "", ("cross_entropy", "focal"), "cross_entropy")),
        ("data", "folder", "path", ("text", "", (), describe.REQUIRED)),
        ("augmentation", "flip", "horizontal", ("true/false", "", (), True)),
        ("model", "cnn3", "classifier.pooling", ("name", "", ("flatten", "average", "max"), "flatten")),
        ("model", "cnn3", "filters", ("list of integer", "> 0", (), [32, 64, 128])),
        ("hydra/launcher", "process", "n_jobs", ("integer", "", (), 1)),
    ],
)
def test_type_bounds_choices_and_default(group, name, key, expected):
    found = describe.of_choice(group, name)[key]
    assert isinstance(found, Description)
    assert found[1:] == expected

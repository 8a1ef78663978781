"""Old names of settings: read in records, answered everywhere else."""

from __future__ import annotations

import pytest

from cifar.config import renamed
from cifar.config.renamed import Setting, of_params, oldest, translated, unknown_setting

TABLE = (
    Setting("averaging", "weight_averaging"),
    Setting("model.head", "model.classifier"),
    Setting("model.width", "model.embed_dim", builder="cct"),
    Setting("weight_averaging.steps", "weight_averaging.sync_period", builder="lookahead"),
)
OLD = {
    "model": {"name": "own", "builder": "cct", "width": 8, "head": {"units": [], "dropout": 0.5}},
    "averaging": {"name": "lookahead", "steps": 3},
    "data": {"name": "masks", "classes": {"a.b": "#000000"}},
    "callbacks": {},
}
NEW = {
    "model": {"name": "own", "builder": "cct", "embed_dim": 8, "classifier": {"units": [], "dropout": 0.5}},
    "weight_averaging": {"name": "lookahead", "sync_period": 3},
    "data": {"name": "masks", "classes": {"a.b": "#000000"}},
    "callbacks": {},
}
OLD_FLAT = {"model.builder": "cct", "model.width": 8, "model.head.units": [], "averaging.name": "lookahead",
            "averaging.steps": 3}  # fmt: skip
NEW_FLAT = {"model.builder": "cct", "model.embed_dim": 8, "model.classifier.units": [],
            "weight_averaging.name": "lookahead", "weight_averaging.sync_period": 3}  # fmt: skip


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setattr(renamed, "SETTINGS", TABLE)


def test_records_are_read_by_the_new_names():
    assert translated(OLD) == NEW
    assert of_params(OLD_FLAT) == NEW_FLAT


def test_new_records_stay_as_they_are():
    assert translated(NEW) == NEW
    assert of_params(NEW_FLAT) == NEW_FLAT


def test_order_stays():
    assert [*translated(OLD)] == [*NEW]
    assert [*translated(OLD)["model"]] == [*NEW["model"]]


def test_oldest_names():
    assert oldest(NEW_FLAT) == OLD_FLAT == oldest(OLD_FLAT)


def test_a_setting_of_another_builder_stays():
    other = {"model": {"name": "wide_resnet", "width": 8}}
    assert translated(other) == other
    assert oldest({"model.name": "vit", "model.embed_dim": 8}) == {"model.name": "vit", "model.embed_dim": 8}


@pytest.mark.parametrize(("key", "message"), [
    ("model.width", "model.width is called model.embed_dim now"),
    ("model.embed_dm", "unknown setting; did you mean 'embed_dim'?"),
    ("averaging", "averaging is called weight_averaging now"),
])  # fmt: skip
def test_answer(key, message):
    assert unknown_setting(key, ["embed_dim", "depth", "weight_averaging"]).startswith(message)


def test_old_name_that_means_nothing_here():
    assert unknown_setting("model.width", ["depth"]).startswith("unknown setting")

"""Old names: answered with the new one where they are typed, read by the new one where they are recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from cifar.config import registry, renamed, schema
from cifar.config.compose import read
from cifar.config.settings import Settings, identity
from cifar.runtime.errors import InputError
from cifar.sweep import grid, search, space
from cifar.tasks.detection.fcos import FCOSHead
from cifar.tasks.detection.single_object import SingleObjectHead

RECORDED = Path(__file__).parent / "recorded"
"""Settings as commit dd9afeb recorded them."""
KEYS = {
    "classification": {
        "identity": "7ab3e5361eadc3891bbddd834efc0201dd07c068ee88602c6706a88d199e0a13",
        "sweep": "51e744a9b3bae25e2d0c078b708271fb28a45193aa807cf88c701d65767c052a",
        "search": "1694efa23269f8bcbb590dc78e54b79ae5c90626de9cefe98bb7994837c163cf",
        "unnamed search": "f6e2f45dc4dd4541f517b25b48abedc5c09aead88a9a6dab6700245ae0eaa900",
    },
    "detection": {
        "identity": "1851025ca2759fdd465a9857a104353eaab6c5c5ad4455a19516fe8f4d9eefb1",
        "sweep": "29f263eace10053da7ecff726abe43a853fe37fcf9315f71d10c7741d5bd02eb",
        "search": "4142f1643b2d0603b0f3dc983bf739b17bb229e1753472018aa64d4e85b97e65",
        "unnamed search": "64b1700b053f501b6a64a43bd221edb6c3f2f5c08cdc637622155c1640055667",
    },
}
"""What that commit's code made of them."""


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ("averaging=ema", "averaging=ema: averaging is called weight_averaging now"),
        ("averaging.decay=0.5", "averaging.decay=0.5: averaging is called weight_averaging now"),
        ("weight_averaging=lookahead weight_averaging.steps=3",
         "weight_averaging.steps=3: weight_averaging.steps is called weight_averaging.sync_period now"),
        ("schedule=triangular", "schedule=triangular: triangular is called linear_warmup_decay now"),
        ("schedule.name=step", "schedule.name=step: step is called multistep now"),
        ("schedule.rise=0.1", "schedule.rise=0.1: schedule.rise is called schedule.warmup_fraction now"),
        ("finetune.from_layer=x", "finetune.from_layer=x: finetune.from_layer is called finetune.unfreeze_from now"),
        ("data=scenes data.train=9", "data.train=9: data.train is called data.num_train now"),
        ("task=detection task.width=9", "task.width=9: task.width is called task.fpn_channels now"),
        ("model=cct model.heads=1", "model.heads=1: model.heads is called model.num_heads now"),
        ("optimizer.steps=1", "optimizer.steps=1: unknown setting; known: clip_norm, lr"),
        ("data=scenes data@data.source=digits data.limit=9 task=detection objective=val/accuracy",
         "objective=val/accuracy: not a validation metric or a cost; it is called val/positive_accuracy now"),
    ],
)  # fmt: skip
def test_on_the_command_line(mistake, overrides, line):
    assert mistake(*overrides.split()).startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("averaging: {name: ema}", "averaging={'name': 'ema'}: averaging is called weight_averaging now"),
        ("defaults: [override /averaging: ema]", "averaging is called weight_averaging now"),
        ("defaults: [override /schedule: step]", "schedule=step: step is called multistep now"),
        ("augmentation: {random_erasing: {least_area: 0.1}}",
         "augmentation.random_erasing.least_area=0.1: augmentation.random_erasing.least_area is called "
         "augmentation.random_erasing.min_area now"),
    ],
)  # fmt: skip
def test_in_a_yaml(mistake, tmp_path, text, line):
    path = tmp_path / "mine" / "experiment" / "own.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\n{text}\n")
    assert mistake(f"--config-dir={tmp_path / 'mine'}", "augmentation=random_erasing", "experiment=own") == line


def test_no_old_name_is_in_use():
    groups = {one.group: one for one in registry.ALL}
    for choice in renamed.CHOICES:
        names = groups[choice.group].names()
        assert choice.new in names and choice.old not in names
    for setting in renamed.SETTINGS:
        group, builder = setting.new.split(".")[0], setting.builder or setting.new.split(".")[1:-1][-1:]
        if isinstance(builder, str):
            with pytest.raises(InputError) as error:
                groups[group].parse({"name": builder, "no_setting": 0})
            known = str(error.value).partition("known: ")[2].split(", ")
            assert setting.new.rpartition(".")[2] in known and setting.old.rpartition(".")[2] not in known
    assert Settings.model_fields.keys() >= {"weight_averaging"} and "averaging" not in Settings.model_fields
    assert (FCOSHead.metric_names[0], SingleObjectHead.metric_names[0]) == ("positive_accuracy", "accuracy")


@pytest.fixture(params=["classification", "detection"])
def recorded(request) -> tuple[Settings, dict[str, str]]:
    """Settings of a recorded run, and its keys: `identity`, of a `sweep` of two seeds, of a `search`."""
    settings = read((RECORDED / f"{request.param}.yaml").read_text())
    return settings, KEYS[request.param]


def test_settings_are_read_by_their_new_names():
    settings = read((RECORDED / "detection.yaml").read_text())
    assert settings.data.num_train == 20 and settings.data.limit is None
    assert (settings.task.fpn_channels, settings.task.head_depth, settings.task.score_threshold) == (2, 0, 0.2)
    assert settings.objective == settings.callbacks["checkpoint"].monitor == "val/positive_accuracy"
    assert renamed.translated(settings.model_dump()) == settings.model_dump()


def test_keys_are_those_of_before(recorded):
    settings, keys = recorded
    dimensions = {
        "model.classifier.dropout": space.Interval(0.0, 0.5, False),
        "task.fpn_channels": space.Interval(1, 4, False),
    }
    given = {"n_trials": 2, "storage": None, "pruner": {"name": "none"}, "params": {},
             "sampler": {"name": "random", "seed": 0}}  # fmt: skip
    named, unnamed = (schema.validate(search.Options, {**given, "study_name": name}, "") for name in ("old", None))
    assert identity(settings) == keys["identity"]
    assert grid.key([settings, settings.model_copy(update={"seed": 1})]) == keys["sweep"]
    assert search.fingerprint(named, dimensions, settings) == keys["search"]
    assert search.fingerprint(unnamed, dimensions, settings) == keys["unnamed search"]


def test_a_limit_of_scenes_is_another_setting_than_none():
    settings = read((RECORDED / "detection.yaml").read_text())
    limited = settings.model_copy(update={"data": settings.data.changed(limit=9)})
    assert identity(limited) != identity(settings)


def test_parameters_and_metrics_of_a_record():
    params = {"task.name": "detection", "task.head": "fcos", "schedule.name": "step", "model.builder": "cct",
              "model.name": "cct2_2", "model.width": "16", "data.name": "digits", "data.train": "1"}  # fmt: skip
    new = renamed.of_params(params)
    assert new["schedule.name"] == "multistep" and new["model.embed_dim"] == "16" and new["data.train"] == "1"
    found = renamed.metrics({"val/accuracy": 1, "test/recall": 2, "val/iou": 3}, params)
    assert found == {"val/positive_accuracy": 1, "test/ar100": 2, "val/iou": 3}
    assert renamed.metrics({"val/accuracy": 1, "val/positive_accuracy": 2}, params) == {"val/positive_accuracy": 2}
    assert renamed.metrics({"val/accuracy": 1, "test/calibration_error": 2}, {}) == {"val/accuracy": 1, "test/ece": 2}
    assert renamed.old_metric("val/positive_accuracy", params) == "val/accuracy"
    assert renamed.old_metric("val/accuracy", {}) is None


def test_a_filter_by_the_old_names():
    old, names = renamed.old_filter("params.`weight_averaging.name` = 'ema' and metrics.\"test/ece\" < 0.1")
    assert old == "params.`averaging.name` = 'ema' and metrics.\"test/calibration_error\" < 0.1"
    assert names == ["weight_averaging", "test/ece"]
    assert renamed.old_filter("params.`schedule.name` = 'multistep'")[0] == "params.`schedule.name` = 'step'"
    assert renamed.old_filter("metrics.`test/accuracy` > 0.5")[1] == []

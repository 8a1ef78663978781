"""Every YAML composes and is accepted, and becomes plain settings."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cifar.config.compose import read, resolve
from cifar.config.settings import flatten, parse
from cifar.runtime.errors import InputError
from cifar.runtime.paths import ROOT
from cifar.training import checks
from helpers.runs import TINY, composed

CHOICES = [f"{path.parent.name}={path.stem}" for path in sorted((ROOT / "conf").glob("*/*.yaml"))]


class TestComposition:
    """What is under `conf/`, as `run.py` composes it."""

    @pytest.mark.parametrize("choice", CHOICES)
    def test_every_yaml_composes_and_is_accepted(self, compose, tmp_path, choice):
        needed = {
            **{
                f"data={name}": [f"data.path={tmp_path}"]
                for name in ("folder", "coco", "voc", "masks", "pets", "table", "yolo", "cifar10_1", "cifar10_c")
            },
            "data=cifar10h": [f"data.path={tmp_path}", f"data.soft_labels={tmp_path}"],
            "callbacks=reduce_lr": ["schedule=constant"],
            "callbacks=lr_range": ["schedule=lr_range"],
            "model=from_run": ["model.run=abcd"],
            "experiment=transfer": ["model.run=abcd"],
        }
        settings = compose(choice, *needed.get(choice, []))
        checks.check_settings(settings)
        group, name = choice.split("=")
        if group not in ("experiment", "sweep", "augmentation", "callbacks"):
            assert getattr(settings, group).name.startswith(name)  # which may go on with what tells variants apart

    @pytest.mark.parametrize("group", ["experiment", "sweep"])
    def test_every_recipe_opens_with_its_command(self, group):
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            lines = path.read_text().splitlines()
            assert lines[0] == "# @package _global_"
            assert lines[1].startswith(f"# python run.py {group}={path.stem}")

    def test_mappings_are_composed_from_several_files(self, compose):
        settings = compose("augmentation=[crop,flip]", "callbacks=[checkpoint,csv_logger]")
        assert list(settings.augmentation) == ["crop", "flip"]
        assert list(settings.callbacks) == ["checkpoint", "csv_logger"]

    def test_entry_of_a_mapping_can_be_changed_and_dropped(self, compose):
        settings = compose("augmentation.rotation.degrees=30", "~augmentation.flip", "~callbacks.early_stopping")
        assert settings.augmentation["rotation"].degrees == 30
        assert "flip" not in settings.augmentation
        assert list(settings.callbacks) == ["checkpoint"]

    def test_none_is_no_augmentation_and_no_callback(self, compose):
        for none in ("none", "[]"):
            settings = compose(f"augmentation={none}", f"callbacks={none}")
            assert (settings.augmentation, settings.callbacks) == ({}, {})

    def test_command_line_overrides_a_recipe(self, compose):
        assert compose("experiment=quickstart", "optimizer.lr=1e-4").optimizer.lr == 1e-4

    def test_references_are_resolved(self, compose):
        settings = compose("data=digits")
        assert (settings.tracking.experiment, settings.tracking.name) == ("digits", "cnn3")

    def test_settings_survive_their_yaml(self, compose):
        settings = compose("experiment=quickstart", "model.filters=[8]")
        assert read(yaml.safe_dump(settings.model_dump())) == settings


class TestFlatten:
    """Every leaf under its dotted key."""

    def test_of_the_defaults(self, compose):
        flat = flatten(compose("optimizer.lr=0.5", "callbacks=none"))
        assert flat["optimizer.lr"] == 0.5
        assert flat["model.filters"] == [32, 64, 128]
        assert flat["callbacks"] == {}
        assert not any(isinstance(value, dict) and value for value in flat.values())

    @given(st.recursive(st.integers(), lambda node: st.dictionaries(st.text("abc", min_size=1), node, min_size=1)))
    def test_loses_nothing(self, tree):
        flat = flatten(SimpleNamespace(model_dump=lambda: {"data": {"data": tree}}))

        def grown(key, node):
            return sum(grown(f"{key}.{k}", v) for k, v in node.items()) if isinstance(node, dict) else flat[key] == node

        leaves = sum(key.startswith("data.") for key in flat)
        assert grown("data.data", tree) == leaves


COLORS = {"road": "#804080", "void": "#ffffff"}


class TestListsAndMappings:
    """A setting that takes either."""

    def test_mapping_replaces_a_list_on_the_command_line(self, compose, tmp_path):
        settings = compose("data=masks", f"data.path={tmp_path}", "data.classes={road: '#804080', void: '#ffffff'}")
        assert settings.data.model_dump()["classes"] == COLORS

    @pytest.mark.parametrize("typed", [[], ["data.classes=[a,b]"]])
    def test_each_replaces_the_other_in_a_recipe(self, tmp_path, typed):
        (tmp_path / "experiment").mkdir()
        (tmp_path / "experiment" / "own.yaml").write_text(
            "# @package _global_\ndefaults:\n  - override /data: masks\n"
            "data: {path: /x, classes: {road: '#804080', void: '#ffffff'}}\nmodel: {classifier: [3]}\n"
        )
        found = composed("experiment=own", f"hydra.searchpath=[file://{tmp_path}]", *typed)
        assert found.data.classes == (["a", "b"] if typed else COLORS)
        assert found.model.classifier == [3]


class TestResolve:
    """From what Hydra has composed to settings."""

    def test_hydras_own_node_is_left_out(self):
        assert "hydra" not in resolve(composed("data=digits")).model_dump()

    @given(st.sampled_from(["data", "model", "optimizer"]), st.lists(st.sampled_from("abc"), max_size=3))
    def test_target_is_refused_at_any_depth(self, group, path):
        node: dict = {"_target_": "os.system"}
        for key in reversed(path):
            node = {key: [node]}
        with pytest.raises(InputError, match=r"_target_=os\.system"):
            parse({group: node})

    def test_lists_are_plain(self, compose):
        settings = compose(*TINY)
        assert type(settings.model.filters) is list
        assert type(settings.model.model_dump()) is dict
        assert not math.isnan(settings.optimizer.lr)

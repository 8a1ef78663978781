"""`--help`, the command `settings`, docs/settings.md and the JSON schema: all of them say what the code and YAML do."""

from __future__ import annotations

import json
import re

import pytest
from omegaconf import OmegaConf

from cifar import __main__
from cifar.config import choices, describe
from cifar.reference import help, json_schema, markdown, sections
from cifar.runtime.errors import InputError
from cifar.runtime.paths import CONF, ROOT
from helpers.json_schema import faults

STALE = "`make settings` writes it again"


@pytest.fixture
def shown(capsys, monkeypatch):
    """shown(*arguments): what `run.py ARGUMENTS…` prints on a terminal of 80 columns, in which `--help` is one."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> str:
        help.answer(arguments)
        return capsys.readouterr().out

    return run


@pytest.fixture
def settings(capsys):
    """settings(*arguments): what `python -m cifar settings ARGUMENTS…` prints."""

    def run(*arguments: str) -> str:
        given = __main__.argument_parser().parse_args(["settings", *arguments])
        given.run(given)
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def schema():
    return json_schema.schema()


class TestHelp:
    def test_overview_has_each_choice_and_each_root_setting_with_its_default(self, shown):
        text = shown("--help")
        for group in choices.groups().values():
            (block,) = re.findall(rf"^{group.name}: .*?\n\n", text, re.DOTALL | re.MULTILINE)
            for name in choices.names(group.name):
                assert re.search(rf"^  {name}{' [*]' if name in group.defaults else ''} ", block, re.MULTILINE), name
        for key, one in describe.of_root().items():
            assert f"\n  {key}={one.default_text}" in text
        assert max(map(len, text.splitlines())) <= 80

    def test_settings_of_what_is_chosen(self, shown):
        text = shown("model=resnet", "optimizer=muon", "--help")
        assert [line.partition(":")[0] for line in text.splitlines() if re.match(r"\w+=", line)] == [
            "model=resnet",
            "optimizer=muon",
        ]
        assert "  model.shortcut=A                shortcut where the shape changes: A (zero" in text
        assert "  optimizer.ns_steps=3          number of Newton-Schulz steps that" in text
        assert "(integer > 0)" in text

    def test_several_choices_and_the_settings_of_a_default_choice(self, shown):
        text = shown("-h", "callbacks=[checkpoint,reduce_lr]", "schedule.final=0", "epochs=3")
        assert all(f"\n{title}: " in f"\n{text}" for title in ("callbacks=checkpoint", "callbacks=reduce_lr"))
        assert "\nschedule=onecycle: " in text
        assert "  epochs=30  number of epochs" in text

    @pytest.mark.parametrize(
        ("argument", "line"),
        [
            ("model=resnett", "model=resnett: unknown choice; did you mean 'resnet'"),
            ("modle=cnn3", "modle=cnn3: unknown setting; did you mean 'model'"),
        ],
    )
    def test_unknown_choice(self, argument, line):
        with pytest.raises(InputError, match=f"^{re.escape(line)}"):
            help.answer([argument, "--help"])


class TestSettings:
    def test_word_in_a_name_or_a_meaning_or_a_choice(self, settings):
        text = settings("decoupled, of KERNELS")
        assert "optimizer=sgd" in text
        assert "optimizer.weight_decay=0.0" in text
        assert "nesterov" not in text
        assert "task.box_loss=ciou" in settings("smooth_l1")
        assert "model.shortcut=A" in settings("model=resnet")

    def test_all_without_a_word(self, settings):
        text = settings()
        assert all(f"\n{one.title}" in f"\n{text}" for one in sections.all_sections())

    def test_json(self, settings):
        (root,) = json.loads(settings("batch_size", "--json"))[:1]
        (found,) = [one for one in root["settings"] if one["setting"] == "batch_size"]
        assert (found["default"], found["type"], found["bounds"]) == (128, "integer", "> 0")

    @pytest.mark.parametrize("arguments", [("zzzz",), ("lr", "--markdown")])
    def test_mistakes(self, settings, arguments):
        with pytest.raises(InputError, match=f"^settings {arguments[0]}: "):
            settings(*arguments)


def test_page_is_current():
    assert (ROOT / "docs" / "settings.md").read_text() == markdown.page(sections.all_sections()), STALE


class TestSchema:
    def test_file_is_current(self, schema):
        assert json.loads((CONF / "schema.json").read_text()) == json.loads(json.dumps(schema)), STALE

    def test_every_yaml_is_valid(self, schema):
        for path in sorted(CONF.rglob("*.yaml")):
            group = path.parent.relative_to(CONF).as_posix()
            values = OmegaConf.to_container(OmegaConf.load(path))
            if group in schema["properties"]:
                values.pop("defaults", None)
                assert faults(values, schema["properties"][group], schema) == [], path
            elif not group.startswith("hydra"):
                assert faults(values, schema, schema) == [], path

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("epoch: 3", "epoch"),
            ("epochs: 0", "epochs"),
            ("optimizer: {lr: high}", "optimizer.lr"),
            ("optimizer: {lrr: 1}", "optimizer.lrr"),
            ("task: {loss: hinge}", "task.loss"),
            ("augmentation: {crop: {padding: -1}}", "augmentation.crop.padding"),
            ("model: {classifier: {dropout: 2}}", "model.classifier"),
            ("defaults: [{override /model: resnett}]", "defaults.0"),
        ],
    )
    def test_mistakes_are_found(self, schema, text, fault):
        assert faults(OmegaConf.to_container(OmegaConf.create(text)), schema, schema) == [fault]

"""What a registry refuses and how it says so; and that every builder has its YAML, and every YAML its builder."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cifar.config.builders import BuilderSettings, parameters_of
from cifar.config.compose import resolve
from cifar.config.registry import ALL, LOSSES, METRICS, Registry
from cifar.config.schema import PositiveInt, Rate, Seed, Strict
from cifar.runtime.errors import InputError, did_you_mean
from cifar.runtime.paths import ROOT
from helpers.runs import composed

MAPPINGS = ("augmentation", "callbacks")
"""The groups that are mappings of name to settings, of which `none` is the empty one."""
BUILDERS = [
    pytest.param(registry, name, id=f"{registry.group}-{name}") for registry in ALL for name in registry.names()
]


def layer(
    image_shape: tuple[int, ...],
    *,
    width: PositiveInt,
    dropout: Rate,
    kind: Literal["plain", "gated"],
    sizes: list[PositiveInt],
    bias: bool,
    limit: PositiveInt | None = None,
):
    """Gives back what it was built with."""
    return {"image_shape": image_shape, "width": width, "dropout": dropout, "kind": kind, "sizes": sizes, "bias": bias,
            "limit": limit}  # fmt: skip


def seeded(*, seed: Seed):
    """Has a setting of a name that the framework offers as well."""
    return seed


class Part(Strict):
    """An entry of a list."""

    width: PositiveInt
    bias: bool = True


def nested(*, parts: list[Part]):
    """Has a list of records."""
    return parts


GOOD = {"name": "layer", "width": 8, "dropout": 0.5, "kind": "plain", "sizes": [1, 2], "bias": False}


@pytest.fixture(scope="module")
def layers() -> Registry:
    registry = Registry("layers", "cifar.runtime.errors", BuilderSettings)
    registry.register(layer)
    registry.register(seeded)
    registry.register(nested)
    return registry


def refusal(registry: Registry, settings: dict) -> str:
    with pytest.raises(InputError) as refused:
        registry.parse(settings)
    return str(refused.value)


def yaml_files(group: str) -> list[Path]:
    return sorted((ROOT / "conf" / group).glob("*.yaml"))


def yaml_of(group: str, name: str) -> dict:
    return yaml.safe_load((ROOT / "conf" / group / f"{name}.yaml").read_text())


@pytest.mark.parametrize(("registry", "name"), BUILDERS)
def test_builder_has_its_yaml_and_a_docstring(registry, name):
    content = yaml_of(registry.group, name)
    if registry.group in MAPPINGS:
        assert list(content) == [name]
        stated = content[name]
    else:
        assert content.get("builder", content["name"]) == name
        entries = [entry for entry in content.pop("defaults", []) if isinstance(entry, dict)]
        choices = [item for entry in entries for item in entry.items() if not item[0].startswith("override ")]
        parts = {key.partition("@")[2]: yaml_of(key.strip("/").partition("@")[0], chosen) for key, chosen in choices}
        of_others = {"name", "builder"} | ({"classifier"} if registry.group == "model" else set())
        assert registry.group != "model" or "classifier" in content
        stated = parts | {key: value for key, value in content.items() if key not in of_others}
    builder = registry._builders[name]
    assert list(stated) == parameters_of(builder)[1], "the settings in the order of the signature"
    assert builder.__doc__
    given = {key: "somewhere" if value == "???" else value for key, value in stated.items()}
    assert registry.parse({"name": name, **given}).name == name


@pytest.mark.parametrize("registry", ALL, ids=lambda registry: registry.group)
def test_every_yaml_of_a_group_has_its_builder(registry):
    none = {"none"} if registry.group in MAPPINGS else set()
    stems = {path.stem for path in yaml_files(registry.group)}
    assert {*registry.names(), *none} <= stems
    for variant in stems - {*registry.names(), *none}:
        config = resolve(composed("data=digits", f"{registry.group}={variant}"))
        assert getattr(config, registry.group).name == variant


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        pytest.param(registry, name, id=f"{registry.group}-{task}-{name}")
        for registries in (LOSSES, METRICS) for task, registry in registries.items() for name in registry.names()
    ],
)  # fmt: skip
def test_loss_and_metric_has_a_docstring_and_no_settings_of_its_own(registry, name):
    builder = registry.record(name).builder
    assert builder.__doc__
    assert parameters_of(builder)[1] == []


def test_groups_are_the_registries_and_the_recipes():
    groups = {str(path.parent.relative_to(ROOT / "conf")) for path in (ROOT / "conf").rglob("*/*.yaml")}
    others = {"experiment", "sweep", "hydra/default", "hydra/launcher", "hydra/sweeper"}
    assert groups == {*(registry.group for registry in ALL), *others}


def test_build_converts_and_passes_only_what_is_asked_for(layers):
    settings = {"name": "layer", "width": "8", "dropout": "5e-1", "kind": "gated", "sizes": ["3"], "bias": "false"}
    built = layers.build(settings, image_shape=(4, 4, 1), folder="not asked for")
    assert built == {"image_shape": (4, 4, 1), "width": 8, "dropout": 0.5, "kind": "gated", "sizes": [3], "bias": False,
                     "limit": None}  # fmt: skip


def test_what_the_framework_hands_over_is_no_setting(layers):
    assert refusal(layers, {**GOOD, "image_shape": [4, 4, 1]}).startswith("layers.image_shape=[4, 4, 1]: unknown")


def test_key_that_is_both_a_setting_and_handed_over_raises(layers):
    with pytest.raises(TypeError, match="seed"):
        layers.build({"name": "seeded", "seed": 1}, seed=2)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"name": "layre"}, "layers.name=layre: unknown layers; did you mean 'layer'? known: layer, nested, seeded"),
        ({"name": "zzz"}, "layers.name=zzz: unknown layers; known: layer, nested, seeded"),
        ({"name": None}, "layers.name=None: unknown layers; known: layer, nested, seeded"),
        ({"widht": 8}, "layers.widht=8: unknown setting; did you mean 'width'? known: bias, dropout, kind, limit, "
                       "sizes, width"),
        ({"width": "three"}, "layers.width=three: should be a valid integer"),
        ({"width": 1.5}, "layers.width=1.5: should be a valid integer"),
        ({"width": None}, "layers.width=None: should be a valid integer"),
        ({"width": [1]}, "layers.width=[1]: should be a valid integer"),
        ({"width": 0}, "layers.width=0: should be greater than 0"),
        ({"dropout": 1}, "layers.dropout=1: should be less than 1"),
        ({"dropout": -0.1}, "layers.dropout=-0.1: should be greater than or equal to 0"),
        ({"dropout": "nan"}, "layers.dropout=nan: should be"),
        ({"dropout": float("inf")}, "layers.dropout=inf: should be"),
        ({"kind": "gate"}, "layers.kind=gate: should be 'plain' or 'gated'"),
        ({"sizes": 3}, "layers.sizes=3: should be a valid list"),
        ({"sizes": [1, 0]}, "layers.sizes.1=0: should be greater than 0"),
        ({"bias": "maybe"}, "layers.bias=maybe: should be a valid boolean"),
        ({"limit": 0}, "layers.limit=0: should be greater than 0"),
    ],
    ids=str,
)  # fmt: skip
def test_refusal_names_key_value_and_what_is_accepted(layers, change, line):
    assert refusal(layers, {**GOOD, **change}).startswith(line)


@pytest.mark.parametrize("setting", ["width", "dropout"])
@pytest.mark.parametrize("value", [True, False])
def test_truth_value_is_no_number(layers, setting, value):
    assert f"layers.{setting}=" in refusal(layers, {**GOOD, setting: value})


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ({"width": 0}, "layers.parts.1.width=0: should be greater than 0"),
        ({"widht": 8}, "layers.parts.1.widht=8: unknown setting; did you mean 'width'? known: bias, width"),
        ({}, "layers.parts.1.width: required setting is missing"),
        (8, "layers.parts.1=8: should be a valid dictionary"),
    ],
    ids=str,
)
def test_refusal_names_the_entry_of_a_list(layers, part, line):
    assert refusal(layers, {"name": "nested", "parts": [{"width": "8"}, part]}) == line


def test_name_is_free_where_the_builder_is_named(layers):
    assert layers.build({**GOOD, "name": "mine", "builder": "layer"}, image_shape=(4, 4, 1))["width"] == 8
    line = "layers.builder=layre: unknown layers; did you mean 'layer'? known: layer, nested, seeded"
    assert refusal(layers, {**GOOD, "builder": "layre"}) == line


def test_missing_setting_is_named(layers):
    assert refusal(layers, {"name": "layer"}) == "layers.width: required setting is missing"


def test_where_replaces_the_group_in_the_key(layers):
    with pytest.raises(InputError, match=r"^layers\.first\.width=0: "):
        layers.parse({**GOOD, "width": 0}, where="layers.first")


def test_duplicate_name_raises(layers):
    def layer():
        """Another one."""

    with pytest.raises(ValueError, match="layers 'layer' is registered twice"):
        layers.register(layer)


@given(st.integers(1, 10**15))
def test_integer_given_as_text_is_that_integer(layers, number):
    assert layers.parse({**GOOD, "width": str(number)}).width == number


@given(st.floats(0, 1, exclude_max=True))
def test_number_given_as_text_is_that_number(layers, number):
    assert layers.parse({**GOOD, "dropout": repr(number)}).dropout == number


@given(st.text(string.ascii_letters + "_", min_size=1).filter(lambda text: text not in parameters_of(layer)[1]))
def test_any_other_key_is_unknown(layers, key):
    if key not in ("name", "builder"):
        assert refusal(layers, {**GOOD, key: 1}).startswith(f"layers.{key}=1: unknown setting; ")


@given(st.lists(st.text(string.ascii_lowercase, min_size=3, max_size=8), min_size=1, unique=True), st.data())
def test_one_wrong_letter_still_finds_the_name(names, data):
    name = data.draw(st.sampled_from(names))
    place = data.draw(st.integers(0, len(name) - 1))
    line = did_you_mean(name[:place] + "#" + name[place + 1 :], names)
    assert line.startswith("did you mean ")
    assert line.endswith(f"known: {', '.join(sorted(names))}")

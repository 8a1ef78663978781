"""Every list and mapping that a comment in `conf/` shows as the value of a setting is accepted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from cifar.config import command_line
from cifar.config.compose import resolve
from cifar.runtime.paths import ROOT
from cifar.training import checks
from helpers.runs import composed

PLACES = {"DIR": "/dir", "FILE": "file", "RUN_ID": "abcd", "LAYER": "conv", "HOST": "host", "NAME": "name"}
COMMENTED = re.compile(r"^(\w+):[^#\n]*# (.*)$", re.MULTILINE)
CONTAINER = re.compile(r"\{\w[\w-]*: [^{}]*\}|\[\w[^\[\]]*\]")


def filled(text: str) -> str:
    return re.sub("|".join(PLACES), lambda found: PLACES[found[0]], text)


def containers() -> list[tuple[Path, str, str]]:
    """The lists and mappings that the comment of a setting shows whose value is one, or `null`: file, key, form."""
    return [
        (path, found[1], form[0])
        for path in sorted((ROOT / "conf").rglob("*.yaml"))
        for found in COMMENTED.finditer(path.read_text())
        if not isinstance(yaml.safe_load(found[0])[found[1]], str | int | float)
        for form in CONTAINER.finditer(found[2])
        if "…" not in form[0]
    ]


@pytest.mark.parametrize(("path", "key", "form"), containers(), ids=str)
def test_list_and_mapping_are_taken(path, key, form):
    override = f"{key}={filled(form)}"
    assert command_line.readable([override]) == [override]
    group = path.parent.relative_to(ROOT / "conf")
    if len(group.parts) == 1 and group.name not in ("experiment", "sweep"):
        choice = f"{group}={path.stem}"
        needed = ["data.path=/dir"] if "path: ???" in path.read_text() else []
        settings = resolve(composed(choice, *needed, f"{group}.{override}"))
        checks.check_settings(settings)
        assert settings.model_dump()[group.name][key] == OverridesParser.create().parse_override(override).value()

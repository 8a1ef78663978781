"""Every form of a setting that a comment in `conf/` or the documentation shows is one that `run.py` takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from cifar.config import command_line
from cifar.config.compose import resolve
from cifar.runtime.paths import ROOT
from cifar.training import experiment
from helpers.runs import composed

PLACES = {"DIR": "/dir", "FILE": "file", "RUN_ID": "abcd", "LAYER": "conv", "HOST": "host", "NAME": "name"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "conf").rglob("*.yaml"))]
COMMAND = re.compile(r"python run\.py ([^`#|\n]+)")
COMMENTED = re.compile(r"^(\w+):[^#\n]*# (.*)$", re.MULTILINE)
CONTAINER = re.compile(r"\{\w[\w-]*: [^{}]*\}|\[\w[^\[\]]*\]")


def filled(text: str) -> str:
    return re.sub("|".join(PLACES), lambda found: PLACES[found[0]], text)


def commands() -> list[str]:
    texts = [re.sub(r"\\\n\s*", "", page.read_text()) for page in PAGES]
    return sorted({found[1].strip() for text in texts for found in COMMAND.finditer(text)} - {""})


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


def first(argument: str) -> str:
    """The setting of a job of a sweep over `argument`."""
    override = OverridesParser.create().parse_override(argument)
    if not override.is_sweep_override():
        return argument
    value = override.value().start if not override.is_discrete_sweep() else next(override.sweep_string_iterator())
    return f"{override.get_key_element()}={value}"


@pytest.mark.parametrize("line", [line for line in commands() if "model=tiny" not in line])  # which the README writes
def test_command_is_taken(line):
    arguments = command_line.readable([word for word in shlex.split(filled(line)) if "…" not in word])
    settings = [word for word in arguments if not word.startswith("--") and word != "job"]
    composed(*(first(word) for word in settings if "glob(" not in word))


@pytest.mark.parametrize(("path", "key", "form"), containers(), ids=str)
def test_list_and_mapping_are_taken(path, key, form):
    override = f"{key}={filled(form)}"
    assert command_line.readable([override]) == [override]
    group = path.parent.relative_to(ROOT / "conf")
    if len(group.parts) == 1 and group.name not in ("experiment", "sweep"):
        choice = f"{group}={path.stem}"
        needed = ["data.path=/dir"] if "path: ???" in path.read_text() else []
        settings = resolve(composed(choice, *needed, f"{group}.{override}"))
        experiment.check(settings)
        assert getattr(settings, group.name)[key] == OverridesParser.create().parse_override(override).value()

"""README.md and docs/: their commands are accepted, their links and paths exist, their settings have these names."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from cifar.__main__ import argument_parser
from cifar.api.overrides import written
from cifar.config import command_line, extensions, registry
from cifar.config.builders import ModelSettings
from cifar.config.registry import MODELS, Registry
from cifar.runtime.paths import ROOT
from helpers import extending
from helpers.runs import composed

CONF = ROOT / "conf"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "settings.md"),
]
"""All but docs/settings.md, which is made from the code."""
PLACEHOLDERS = {
    "DIR": "/dir",
    "FILE": "file",
    "RUN_ID": "abcd",
    "LAYER": "conv",
    "HOST": "host",
    "NAME": "name",
    "KIND": "model",
}
NO_SETTINGS = (".txt", ".bin", ".json", ".h5", ".keras", ".onnx", ".tflite", ".xml", ".yaml", "model.predict")
"""Ends of names of files and methods, which look like settings."""


def text(page: Path) -> str:
    """The page, with each command that is continued by a backslash on one line."""
    return re.sub(r"\\\n\s*", "", page.read_text())


def commands(program: str, pages: list[Path]) -> list[list[str]]:
    """The words after `program` in each command of `pages`, without comments and what a shell does with its output."""
    found = {line for page in pages for line in re.findall(re.escape(program) + r" ([^`\n]+)", text(page))}
    split = [shlex.split(re.sub("|".join(PLACEHOLDERS), lambda name: PLACEHOLDERS[name[0]], line), comments=True)
             for line in sorted(found)]  # fmt: skip
    before = [list(itertools.takewhile(lambda word: word not in (">", "|"), words)) for words in split]
    return [[word for word in words if "…" not in word] for words in before if words]


def first_job(argument: str) -> str:
    """The setting of the first job of a sweep over `argument`."""
    override = OverridesParser.create().parse_override(argument)
    if not override.is_sweep_override():
        return argument
    value = override.value().start if not override.is_discrete_sweep() else next(override.sweep_string_iterator())
    return f"{override.get_key_element()}={value}"


def inline_code() -> Iterator[tuple[str, str]]:
    """(name of the page, code) of each `code` outside of the code blocks."""
    for page in PAGES:
        prose = re.sub(r"^ *```.*?^ *```", "", text(page), flags=re.DOTALL | re.MULTILINE)
        yield from ((page.name, code) for code in re.findall(r"`([^`\n]+)`", prose))


def keys(mapping: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """The dotted names of all settings of a nested mapping."""
    for name, value in mapping.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")


def settings() -> set[str]:
    """The dotted names of all settings that the files in `conf/` state."""
    root = yaml.safe_load((CONF / "config.yaml").read_text())
    found = set(keys(root, ""))
    for path in CONF.rglob("*.yaml"):
        group = path.parent.relative_to(CONF)
        if group.parts and group.parts[0] not in ("experiment", "sweep"):
            prefix = ".".join(group.parts) + "."
            found |= set(keys(yaml.safe_load(path.read_text()) or {}, prefix))
    return found


@pytest.mark.parametrize("words", commands("python run.py", [*PAGES, *sorted(CONF.rglob("*.yaml"))]), ids=shlex.join)
def test_training_command_composes(words, tmp_path):
    if "model=tiny" in words:
        pytest.skip("the page shows how to write this model")
    given = [word for word in words if not word.startswith("--") and word != "job"]
    with extending.forgotten():
        if any(word.startswith("extensions=") for word in given):
            extensions.load(folder := extending.write(tmp_path))
            given = [f"extensions={folder}" if word.startswith("extensions=") else word for word in given]
        composed(*(first_job(word) for word in command_line.readable(given) if "glob(" not in word))


@pytest.mark.parametrize("words", commands("python -m cifar", PAGES), ids=shlex.join)
def test_command_for_runs_is_accepted(words):
    if len(words) == 1:  # the name of a command, in a sentence
        assert words[0] in argument_parser().format_help().split()
    else:
        assert argument_parser().parse_args(words).run


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)\b *(?:#|`|$)", "\n".join(map(text, PAGES)),
                                                         re.MULTILINE))))  # fmt: skip
def test_target_of_make_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_exist(page):
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_is_linked_from_the_index_and_in_the_navigation():
    docs = ROOT / "docs"
    index, navigation = (docs / "index.md").read_text(), (ROOT / "mkdocs.yml").read_text()
    pages = [page.relative_to(docs).as_posix() for page in docs.rglob("*.md") if page.name != "index.md"]
    assert [page for page in pages if f"({page})" not in index or f": {page}\n" not in navigation] == []
    assert "(docs/index.md)" in (ROOT / "README.md").read_text()


def python_code() -> Iterator[tuple[str, str]]:
    """(name of the page, code) of each block of Python in the pages, and of the cells of the notebooks."""
    for page in PAGES:
        yield from ((page.name, code) for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    for path in (ROOT / "examples").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        yield from ((path.name, "".join(cell["source"])) for cell in cells if cell["cell_type"] == "code")


def trainings() -> Iterator[tuple[str, list[str]]]:
    """(name of the page, settings) of each call of `cifar.run`."""
    for page, code in python_code():
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "cifar.run":
                named = {}
                for keyword in node.keywords:
                    value = ast.literal_eval(keyword.value)
                    named |= {keyword.arg: value} if keyword.arg else value
                yield page, written([ast.literal_eval(argument) for argument in node.args], named)


def test_trainings_in_python_compose():
    found = list(trainings())
    assert {"python.md", "quickstart.ipynb"} <= {page for page, _ in found}
    for _, settings in found:
        composed(*command_line.readable(settings))


def test_paths_exist():
    found = {code for _, code in inline_code() if re.match(r"(cifar|conf|docs|tests|benchmarks|hydra_plugins)/", code)}
    paths = {code for code in found if not re.search(r"[A-Z*]{2,}|[ *]", code.removesuffix("README.md"))}
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_settings_have_these_names():
    known = settings()
    groups = {name.partition(".")[0] for name in known if "." in name} - {"hydra"} | {"hydra.launcher", "hydra.sweeper"}
    dotted = re.compile(rf"({'|'.join(groups)})(\.\w+)+(=\S*)?")
    codes = [(page, code) for page, code in inline_code() if not code.endswith(NO_SETTINGS)]
    named = {(page, code.partition("=")[0]) for page, code in codes if dotted.fullmatch(code)}
    assert sorted((page, name) for page, name in named if name not in known) == []


def test_choices_have_these_names():
    named = {(page, *code.split("=")) for page, code in inline_code() if re.fullmatch(r"[a-z_/]+=[a-z0-9_]+", code)}
    named = {(page, group, choice) for page, group, choice in named if (CONF / group).is_dir()}
    assert named
    assert sorted(choice for choice in named if not (CONF / choice[1] / f"{choice[2]}.yaml").exists()) == []


@pytest.mark.parametrize("group", sorted(path.name for path in CONF.iterdir() if path.is_dir()))
def test_every_choice_is_in_the_documentation(group):
    choices = {path.stem for path in (CONF / group).glob("*.yaml")}
    codes = [code for _, code in inline_code()] + [shlex.join(words) for words in commands("python run.py", PAGES)]
    shown = set(re.findall(r"\w+", " ".join(codes)))
    assert choices <= shown


def test_the_model_that_is_shown_can_be_built(monkeypatch):
    page = (ROOT / "docs" / "models.md").read_text()
    code, shown = (re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)[1] for language in ("python", "yaml"))
    assert "tiny" not in MODELS.registered(), "which also imports the modules that register with it"
    models = Registry(MODELS.group, MODELS.home, ModelSettings)
    monkeypatch.setattr(registry, "MODELS", models)
    exec(compile(code, "docs/models.md", "exec"), {})
    settings = models.parse(yaml.safe_load(shown))
    model = settings.build(image_shape=(32, 32, 3))
    assert {name: x.shape[1:] for name, x in model.output.items()} == {"P1": (16, 16, 32), "P2": (8, 8, 64)}

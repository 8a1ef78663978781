"""The code of a run as git knows it: what decides the run is told, by-products are not."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from cifar.tracking import environment


def git(folder: Path, *arguments: str, given: str = "") -> str:
    variables = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    own = ["-c", "user.name=x", "-c", "user.email=x@x"]
    return subprocess.run(
        ["git", *own, *arguments], cwd=folder, env=variables, input=given, text=True, capture_output=True, check=True
    ).stdout


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A project with one commit."""
    folder = tmp_path / "project"
    for name in ("run.py", "README.md", "conf/model/cnn.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("one\ntwo\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    monkeypatch.setattr(environment, "ROOT", folder)
    return folder


def test_by_products_are_no_changes(root):
    for name in ("optuna.db", "cat.png.predicted.png", "exports/1/model.onnx", "page.html", "cifar.html"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\x00\xff")
    code = environment.code()
    assert (code.diff, code.changes) == ("", "")
    assert code.commit == git(root, "rev-parse", "HEAD").strip()


def test_diff_can_be_applied(root, tmp_path):
    changed = {"run.py": b"one\r\nthree\n", "conf/new one.yaml": "ü".encode(), "cifar/a.bin": b"\x00\xff\x00"}
    for name, content in changed.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "conf/model/cnn.yaml").unlink()
    (root / "notes.txt").write_text("mine")
    git(root, "config", "diff.noprefix", "true")
    index = (root / ".git/index").read_bytes()
    code = environment.code()
    assert (root / ".git/index").read_bytes() == index
    git(tmp_path, "clone", "--quiet", str(root), "other")
    git(tmp_path / "other", "apply", "-", given=code.diff)
    assert {name: (tmp_path / "other" / name).read_bytes() for name in changed} == changed
    assert not (tmp_path / "other" / "conf/model/cnn.yaml").exists()
    assert not (tmp_path / "other" / "notes.txt").exists()


def test_same_changes_are_known_again(root):
    (root / "conf/new.yaml").write_text("a: 1")
    one = environment.code().changes
    assert environment.code().changes == one != ""
    (root / "conf/new.yaml").write_text("a: 2")
    assert environment.code().changes not in ("", one)


def test_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment.code() == environment.Code(None, "")


def test_libraries_whose_packages_have_other_names_or_are_absent(monkeypatch):
    def version(name):
        if name in ("tensorflow", "jax"):
            raise metadata.PackageNotFoundError(name)
        return "1.2"

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(__version__="2.21.0"))  # of tensorflow-cpu
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    found = environment.describe()
    assert (found["tensorflow"], found["jax"], found["keras"]) == ("2.21.0", "not installed", "1.2")

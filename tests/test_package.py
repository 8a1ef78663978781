"""The wheel, installed in an empty environment and used in an empty folder, and the lists of what it needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cifar import __version__
from cifar.runtime.paths import ROOT

SMALL = (
    "data=digits", "data.limit=300", "epochs=1", "callbacks=[checkpoint]", "augmentation=none", "model.filters=[8]",
)  # fmt: skip


def required() -> list[str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def locked(name: str) -> dict[str, set[str]]:
    """The versions of each package in a lock file."""
    versions: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", (ROOT / name).read_text(), re.MULTILINE):
        versions.setdefault(package, set()).add(version)
    return versions


def test_requirements_are_those_of_the_package():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == required()


def test_citation_is_of_this_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


def test_both_locks_have_the_same_versions():
    main, dev = locked("requirements.lock"), locked("requirements-dev.lock")
    assert {name: dev.get(name) for name in main} == main
    names = {re.match(r"[\w-]+", line)[0].lower() for line in required()}
    assert names <= main.keys()


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder of the programs of an environment that has the wheel and what `requirements.lock` names."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    programs = environment / "bin"
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--no-deps"]
    lock = [*pip, "--require-hashes", "--requirement", ROOT / "requirements.lock"]
    done = subprocess.run(lock, capture_output=True, text=True, check=False)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("needs a package index")
    assert done.returncode == 0, done.stderr
    subprocess.run([*pip, "--no-index", wheel], check=True)
    return programs


@pytest.mark.slow  # installs TensorFlow, trains three times
def test_in_an_empty_environment_and_folder(installed, tmp_path):
    def cifar(*arguments: str, code: int = 0) -> str:
        """What `cifar ARGUMENTS…` prints on standard output, or on standard error where it fails with `code`."""
        variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(
            [installed / "cifar", *arguments], cwd=folder, env=variables, capture_output=True, text=True, timeout=600,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout

    folder = tmp_path / "empty"
    folder.mkdir()
    assert cifar("run", "model=cnn4", code=2).startswith("error: model=cnn4: unknown choice; did you mean 'cnn'?")
    assert "  cifar run model=cnn3 optimizer.lr=1e-3" in cifar("run", "--help")
    assert list(folder.iterdir()) == []

    trained = cifar("run", "experiment=quickstart", "epochs=2")
    run_id = trained.split()[1].rstrip(":")
    assert f"cifar ui shows run {run_id[:8]}" in trained
    cifar("run", "--multirun", *SMALL, "seed=1,2", "hydra.launcher.n_jobs=2")
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db", "mlruns"]
    listed = cifar("runs")
    assert run_id in listed
    assert len(re.findall(r"seed=[12] +FINISHED", listed)) == 2

    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "photo.png")
    answer = json.loads(cifar("predict", run_id, "photo.png"))
    assert answer["image"] == "photo.png"
    assert cifar("export", run_id, "exported", "--format", "onnx", code=2) == (
        "error: --format onnx: tf2onnx, onnx, onnxruntime are not installed; "
        '`pip install "cifar[export]"` installs what it needs\n'
    )

"""Runs in MLflow's model registry, found again by name, alias and version."""

from __future__ import annotations

import json
import os

import mlflow
import numpy as np
import pytest
from PIL import Image

from cifar import tracking
from cifar.runtime.errors import InputError
from cifar.serving import sources
from cifar.tracking import queries, registry
from helpers.processes import error_line
from helpers.runs import record, sqlite


@pytest.fixture
def two(tmp_path) -> tuple[str, list[str]]:
    """A store with two runs, and their ids."""
    uri = sqlite(tmp_path)
    return uri, [record(uri, name, "data.limit=60") for name in ("first", "second")]


def test_command_registers_and_others_take_the_address(quickstart, command, tmp_path):
    done = command(quickstart.uri, "register", quickstart.id[:8], "digits", "--alias", "champion")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == (
        f"run {quickstart.id} is models:/digits/1; `python -m cifar serve models:/digits@champion` serves it\n"
    )
    assert command(quickstart.uri, "register", "models:/digits@champion", "digits").stdout.startswith(
        f"run {quickstart.id} is models:/digits/1;"
    )
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    done = command(quickstart.uri, "predict", "models:/digits/1", tmp_path / "a.png")
    assert json.loads(done.stdout)["image"] == str(tmp_path / "a.png")
    folder = mlflow.artifacts.download_artifacts("models:/digits@champion", tracking_uri=quickstart.uri)
    assert "MLmodel" in os.listdir(folder)  # `mlflow models serve` takes it too


def test_service_follows_the_alias(two):
    uri, (first, second) = two
    tracking.connect(uri)
    source = sources.named("models:/scenes net@champion")
    for run, address in ((first, "models:/scenes net/1"), (second, "models:/scenes net/2")):
        assert registry.add_version("scenes net", run, "champion") == address
        assert {name: found.id for name, found in sources.find_current([source], uri).items()} == {"scenes-net": run}
    assert queries.find_runs(["models:/scenes net/1"])[0].id == first


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("models:/cats", "should be models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("models:/dog/1", "no model is registered so; did you mean 'dogs'? known: dogs"),
        ("models:/dogs@champio", "dogs has no such alias; did you mean 'champion'? known: champion"),
        ("models:/dogs/7", "dogs has no version 7"),
    ],
)
def test_what_is_not_registered(two, address, reason):
    uri, (first, _) = two
    tracking.connect(uri)
    registry.add_version("dogs", first, "champion")
    with pytest.raises(InputError) as error:
        queries.find(address)
    assert str(error.value) == f"{address}: {reason}"


def test_a_run_without_weights_is_not_registered(two, command):
    uri, (first, _) = two
    assert error_line(command(uri, "register", first, "dogs")).endswith("has no model.weights.h5")
    assert not mlflow.MlflowClient(uri).search_registered_models()

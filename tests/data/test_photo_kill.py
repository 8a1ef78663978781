"""A process that is killed while it decodes photos leaves nothing that a later one uses."""

from __future__ import annotations

import signal
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from cifar.runtime.paths import ROOT
from helpers.processes import run_warm, wait_for, warm_server
from helpers.runs import sqlite

PHOTOS = 240


@pytest.fixture
def photos(tmp_path) -> Path:
    """Photos that take some seconds to decode, all different."""
    pixels = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    for number in range(PHOTOS):
        file = tmp_path / "photos" / ("ant", "bee")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(pixels, number, axis=number % 3)).save(file, quality=90)
    return tmp_path / "photos"


def trained(store: Path) -> mlflow.entities.Run:
    client = mlflow.MlflowClient(sqlite(store))
    (found,) = client.search_runs(
        [one.experiment_id for one in client.search_experiments()], "tags.weights_sha256 != ''"
    )
    return found


@pytest.mark.slow
def test_killed_while_decoding_then_started_again(photos, tmp_path):
    settings = [str(ROOT / "run.py"), "data=folder", f"data.path={photos}", "data.size=300", "epochs=1",
                "batch_size=32", "model.filters=[4]", "model.classifier.units=[]", "augmentation=none",
                "callbacks=[checkpoint]"]  # fmt: skip
    runs = {}
    for name in ("killed", "undisturbed"):
        (store := tmp_path / name).mkdir()
        cache, command = store / "cache", [*settings, f"tracking.uri={sqlite(store)}"]
        if name == "killed":
            process = warm_server().start(*command, cwd=store, XDG_CACHE_HOME=str(cache))
            wait_for(lambda cache=cache: any(path.stat().st_blocks for path in cache.rglob(".*/images.npy")))
            process.signal(signal.SIGKILL)
            assert process.wait().code == -signal.SIGKILL
            assert not [*cache.glob("cifar/photos/*/[!.]*")]
        done = run_warm(*command, cwd=store, XDG_CACHE_HOME=str(cache))
        assert done.code == 0, done
        (images,) = cache.rglob("images.npy")  # what was half written is gone
        runs[name] = trained(store), np.load(images)
        assert (runs[name][1].reshape(PHOTOS, -1).std(axis=1) > 1).all()
    (one, pixels), (other, expected) = runs.values()
    assert np.array_equal(pixels, expected)
    for tag in ("weights_sha256", "dataset_fingerprint"):
        assert one.data.tags[tag] == other.data.tags[tag]

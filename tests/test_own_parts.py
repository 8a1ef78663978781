"""A folder of extensions from its first file to a service: each command is a process."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from cifar.runtime.paths import ROOT
from helpers.processes import run_python, run_warm
from helpers.runs import sqlite
from helpers.serving import Service

SMALL = ("data=digits", "data.limit=300", "epochs=1", "callbacks=[checkpoint]", "augmentation=none", "batch_size=64")


@pytest.mark.slow  # trains three times, and starts eight commands
def test_train_sweep_predict_serve_and_resume(tmp_path):
    def train(*settings: str):
        return run_warm(ROOT / "run.py", *settings, *SMALL, f"tracking.uri={sqlite(tmp_path)}", cwd=tmp_path)

    def cifar(*arguments: str):
        return run_warm("-m", "cifar", "--tracking-uri", sqlite(tmp_path), *arguments, cwd=ROOT)

    folder = tmp_path / "own parts"
    assert cifar("new", "model", "mine", "--extensions", str(folder)).code == 0
    named = f"extensions={folder}"
    trained = train(named, "model=mine", "model.filters=4")
    assert trained.code == 0, trained.stderr
    run_id = trained.stdout.split()[1].rstrip(":")
    kept = tmp_path / "mlruns" / run_id / "artifacts" / "extensions" / "models" / "mine.py"
    assert kept.read_bytes() == (folder / "models" / "mine.py").read_bytes()

    swept = train("--multirun", named, "model=mine", "model.filters=4,8", "hydra.launcher.n_jobs=2")
    assert swept.code == 0, swept.stderr

    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "photo.png")
    predict = ("predict", run_id, str(tmp_path / "photo.png"))
    answered = cifar(*predict, "--extensions", str(folder))
    assert json.loads(answered.stdout)["image"] == str(tmp_path / "photo.png"), answered.stderr
    service = Service(sqlite(tmp_path), run_id, "--extensions", str(folder))
    assert service.upload((tmp_path / "photo.png").read_bytes()).code == 200
    service.end()
    for arguments in (predict, ("serve", run_id, "--port", "0"), ("evaluate", run_id), ("export", run_id, "out")):
        refused = cifar(*arguments)
        assert refused.code == 2
        assert "the run was made with extensions ('conf/model/mine.yaml', 'models/mine.py')" in refused.stderr
    with (folder / "models" / "mine.py").open("a") as file:
        file.write("# another file\n")
    assert "'models/mine.py' differs from that of the run" in cifar(*predict, "--extensions", str(folder)).stderr
    resumed = run_warm(ROOT / "run.py", named, f"resume={run_id}", f"tracking.uri={sqlite(tmp_path)}", cwd=tmp_path)
    assert "'models/mine.py' differs from that of the run" in resumed.stderr


@pytest.mark.slow  # trains
def test_the_test_of_a_new_part_passes(tmp_path):
    assert run_warm("-m", "cifar", "new", "callback", "mine", "--extensions", str(tmp_path), cwd=ROOT).code == 0
    done = run_python("-m", "pytest", "-p", "no:cacheprovider", tmp_path / "tests")
    assert done.code == 0, done

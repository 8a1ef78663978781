"""`gc`: what it deletes of deleted, finished and unknown runs, and what it leaves alone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import mlflow
import pytest

from cifar import tracking
from cifar.config.settings import TrackingSettings
from cifar.files import ownership
from helpers.processes import error_line
from helpers.runs import sqlite


def run(uri: str, name: str, experiment: str = "digits") -> str:
    """The id of a finished run with an artifact, a model, and a checkpoint."""
    tracking.connect(uri)
    settings = TrackingSettings(uri=uri, experiment=experiment, name=name, parent=None)
    with tracking.start(settings) as run:
        run.can_be_extended = True
        run.log_text("x" * 5000, "large.txt")
        client = mlflow.MlflowClient(uri)
        experiment_id = client.get_run(run.id).info.experiment_id
        model = client.create_logged_model(experiment_id, name="model", source_run_id=run.id)
        weights = Path(model.artifact_location.removeprefix("file://"))
        weights.mkdir(parents=True)
        (weights / "weights").write_bytes(b"x" * 3000)
        (run.folder / "state").mkdir()
        (run.folder / "state" / "000001.npz").write_bytes(b"x" * 1000)
    return run.id


@pytest.fixture
def gc(command, tmp_path):
    """gc(*arguments): the lines that `python -m cifar gc ARGUMENTS…` prints."""

    def lines(*arguments: str) -> list[str]:
        done = command(sqlite(tmp_path), "gc", *arguments)
        assert (done.code, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return lines


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and "mlflow.db" not in path.name}


def test_files_and_rows_of_deleted_runs_go_and_nothing_else(gc, tmp_path):
    uri = sqlite(tmp_path)
    kept = run(uri, "kept")
    before = files(tmp_path)
    deleted = run(uri, "deleted")
    (tmp_path / "mlruns" / "thesis.txt").write_text("of the user")
    client = mlflow.MlflowClient(uri)
    other = client.create_run(client.create_experiment("of another program")).info.run_id  # without our tags
    for run_id in (deleted, other):
        client.delete_run(run_id)
    everything = files(tmp_path)
    lines = gc("--dry-run")
    assert lines[0].startswith(f"deleted run {deleted} (deleted): 9.")
    assert lines[1].startswith("would free 9.")
    assert re.fullmatch(r"kept: 1.\d kB of checkpoints of finished runs \(1\); --states deletes them", lines[2])
    assert files(tmp_path) == everything
    assert gc()[1].startswith("freed 9.")
    assert files(tmp_path) == {*before, tmp_path / "mlruns" / "thesis.txt"}
    assert not (tmp_path / "mlruns" / deleted).exists()
    with pytest.raises(mlflow.MlflowException, match="not found"):
        client.get_run(deleted)
    assert client.get_run(kept).info.status == "FINISHED"
    assert client.get_run(other).info.lifecycle_stage == "deleted"
    assert gc()[0] == "freed 0 bytes"


def test_checkpoints_are_deleted_on_request(gc, tmp_path):
    finished = run(sqlite(tmp_path), "finished")
    unknown, foreign = tmp_path / "mlruns" / ("0" * 32), tmp_path / "mlruns" / ("1" * 32)
    ownership.make_folder(unknown / "work")
    (unknown / "work" / "state").write_bytes(b"x" * 500)
    (foreign / "work").mkdir(parents=True)  # without the mark
    assert len(gc()) == 3
    lines = gc("--states", "--orphans")
    assert lines[0].startswith(f"checkpoints of finished run {finished} (finished): 1.")
    assert lines[1].startswith(f"checkpoints of unknown run {'0' * 32}: 5")
    assert not unknown.exists()
    assert (foreign / "work").is_dir()
    assert (tmp_path / "mlruns" / finished / "artifacts" / "large.txt").is_file()
    assert not (tmp_path / "mlruns" / finished / "work").exists()


def test_runs_of_another_store_in_the_same_folder_are_not_unknown(gc, tmp_path):
    run(sqlite(tmp_path), "own")
    other = run(f"sqlite:///{tmp_path / 'other.db'}", "other")
    assert len(gc("--orphans")) == 2
    assert (tmp_path / "mlruns" / other / "work" / "state").is_dir()


def test_copied_store_leaves_the_files_of_the_original(command, tmp_path):
    """The recorded location of a copied run's files is that of the original, until it is read."""
    deleted = run(sqlite(tmp_path / "a"), "deleted")
    mlflow.MlflowClient(sqlite(tmp_path / "a")).delete_run(deleted)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    done = command(sqlite(tmp_path / "b"), "gc")
    assert done.code == 0, done.stderr
    assert (tmp_path / "a" / "mlruns" / deleted / "artifacts" / "large.txt").is_file()
    assert not (tmp_path / "b" / "mlruns" / deleted).exists()


def test_server_is_refused(command):
    line = error_line(command("http://127.0.0.1:1", "gc"))
    assert line.startswith("gc: http://127.0.0.1:1 is a server, ")

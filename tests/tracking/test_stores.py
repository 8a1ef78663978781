"""Stores that are moved, copied, named oddly, absent, deleted in, full or not writable."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.tracking._tracking_service import utils
from PIL import Image
from sqlalchemy import Engine, event

from cifar import tracking
from cifar.config.compose import resolve
from cifar.config.registry import CALLBACKS
from cifar.config.settings import TrackingSettings
from cifar.runtime.errors import InputError, TrainingError
from cifar.runtime.paths import ROOT
from cifar.tracking import addresses, queries, store
from helpers.processes import clean_environment, error_line, run_warm
from helpers.runs import TINY, composed, record, sqlite

ODD = "what? [1]{2} 100% ü#"
NOBODY = 65534


def settings(folder: Path) -> TrackingSettings:
    return TrackingSettings(uri=sqlite(folder), experiment="digits", name="a run", parent=None)


def unfinished(folder: Path) -> str:
    """The id of a run that was killed in its first epoch."""
    tracking.connect(sqlite(folder))
    stated = resolve(composed("data=digits", f"tracking.uri='{sqlite(folder)}'"))
    with pytest.raises(KeyboardInterrupt), tracking.start(stated.tracking) as run:
        run.log_settings(stated)
        raise KeyboardInterrupt
    return run.id


def in_another_process() -> None:
    """Forget what MLflow keeps in a process, by the ids of runs: where their artifacts are."""
    utils._artifact_repos_cache.clear()


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything in `folder`."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def locations(folder: Path) -> list[tuple[str, str]]:
    """The runs of a store with their artifact locations, as they are in the database."""
    with sqlite3.connect(folder / "mlflow.db") as connection:
        return connection.execute("SELECT run_uuid, artifact_uri FROM runs ORDER BY start_time").fetchall()


def test_opening_a_store_for_a_while_changes_nothing_afterwards(monkeypatch, tmp_path):
    record(sqlite(tmp_path / "opened"), "run")
    mlflow.set_tracking_uri(sqlite(tmp_path / "own"))
    monkeypatch.setenv(addresses.VARIABLE, sqlite(tmp_path / "set later"))
    with store.opened(sqlite(tmp_path / "opened")):
        assert "opened" in mlflow.get_tracking_uri()
    assert mlflow.get_tracking_uri() == sqlite(tmp_path / "own")
    assert os.environ[addresses.VARIABLE] == sqlite(tmp_path / "set later")


class TestPlace:
    """A store's runs are where its database is."""

    def test_store_that_is_renamed_is_read_and_added_to_where_it_is(self, command, tmp_path):
        old, new = tmp_path / "old", tmp_path / ODD
        first, second, killed = record(sqlite(old), "first"), record(sqlite(old), "second", right=0.7), unfinished(old)
        recorded = locations(old)
        old.rename(new)
        in_another_process()

        assert first[:8] in command(sqlite(new), "runs").stdout
        assert command(sqlite(new), "compare", first, second, "--html", tmp_path / "page.html").code == 0
        assert len(queries.predictions(queries.find_runs([first])[0]).label) > 100
        with tracking.start(settings(new), tracking.locked(killed)) as resumed:
            resumed.log_text("more", "more.txt")
        with tracking.start(settings(new)) as added:
            added.log_text("new", "new.txt")
        artifacts = new / "mlruns"
        assert (artifacts / killed / "artifacts" / "more.txt").read_text() == "more"
        assert (artifacts / added.id / "artifacts" / "new.txt").read_text() == "new"
        info = mlflow.MlflowClient().get_run(first).info
        assert info.artifact_uri == (artifacts / first / "artifacts").as_uri()
        assert locations(new)[:3] == recorded  # the store itself is not rewritten
        assert not old.exists()
        assert {path.name for path in tmp_path.iterdir()} == {ODD, "page.html"}

    def test_copy_leaves_the_original_alone(self, tmp_path):
        original, copy = tmp_path / "original", tmp_path / "copy"
        killed = unfinished(original)
        shutil.copytree(original, copy)
        before = files(original)
        in_another_process()
        tracking.connect(sqlite(copy))
        for resumed in (False, True):
            with tracking.start(settings(copy), tracking.locked(killed) if resumed else None) as run:
                run.log_text("text", "text.txt")
            assert (copy / "mlruns" / run.id / "artifacts" / "text.txt").exists()
        assert files(original) == before

    @pytest.mark.parametrize("location", ["s3://bucket/mlruns/1", "mlflow-artifacts:/1", "file:///elsewhere/1"])
    def test_location_that_is_not_of_the_store_is_read_as_recorded(self, tmp_path, location):
        tracking.connect(sqlite(tmp_path))
        client = mlflow.MlflowClient()
        assert client.get_experiment(client.create_experiment("own", location)).artifact_location == location


class TestNames:
    """A folder may have any name."""

    @pytest.mark.parametrize("name", [ODD, "100%25", "a%20b", "br[1]{2}", "what?a=b", "$x ~'\"&;"])
    def test_store(self, tmp_path, name):
        tracking.connect(sqlite(tmp_path / name))
        with tracking.start(settings(tmp_path / name)) as run:
            run.log_text("text", "text.txt")
            (run.folder / "model.weights.h5").write_bytes(b"weights")
            run.keep_files()
        assert tracking.weights_of(run.id).read_bytes() == b"weights"
        assert (tmp_path / name / "mlruns" / run.id / "artifacts" / "text.txt").exists()
        assert [path.name for path in tmp_path.iterdir()] == [name]
        assert addresses.shown(mlflow.get_tracking_uri()) == sqlite(tmp_path / name)

    def test_address_may_be_percent_encoded(self, tmp_path):
        (tmp_path / "a b").mkdir()
        assert addresses.database(f"sqlite:///{tmp_path}/a%20b/mlflow.db") == tmp_path / "a b" / "mlflow.db"

    def test_checkpoint(self, tmp_path):
        import keras

        folder = tmp_path / "br[1]{2} {epoch}"
        folder.mkdir()
        model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
        model.compile(loss="mse")
        callback = CALLBACKS.build({"name": "checkpoint", "monitor": "train/loss"}, folder=folder)
        model.fit(np.zeros([1, 1]), np.zeros([1, 1]), callbacks=[callback], verbose=0)
        assert [path.name for path in folder.iterdir()] == ["model.weights.h5"]


class TestChoice:
    """The setting, else `MLFLOW_TRACKING_URI`, else the default."""

    def test_order(self, monkeypatch):
        monkeypatch.setattr(addresses, "INHERITED", None)
        assert addresses.chosen(None) == addresses.LOCAL
        monkeypatch.setattr(addresses, "INHERITED", "sqlite:////of/variable.db")
        assert addresses.chosen(None) == "sqlite:////of/variable.db"
        assert addresses.chosen("sqlite:////of/setting.db") == "sqlite:////of/setting.db"

    def test_variable(self, tmp_path):
        run_id = record(sqlite(tmp_path), "a run")
        done = run_warm("-m", "cifar", "runs", MLFLOW_TRACKING_URI=sqlite(tmp_path))
        assert run_id[:8] in done.stdout, done


class TestAbsent:
    """Commands that read create no store."""

    @pytest.mark.parametrize(
        "arguments",
        ["runs", "compare abcd", "evaluate abcd", "export abcd DIR", "serve abcd --port 0", "ui --port 0"],
    )
    def test_command(self, command, tmp_path, arguments):
        told = error_line(command(sqlite(tmp_path / "stroes"), *arguments.split()))
        assert told.startswith(f"tracking.uri={sqlite(tmp_path / 'stroes')}: does not exist")
        assert not list(tmp_path.iterdir())

    def test_sync(self, command, tmp_path, monkeypatch):
        monkeypatch.setattr(addresses, "LOCAL", sqlite(tmp_path / "none"))
        assert "does not exist" in error_line(command("http://127.0.0.1:1", "sync"))
        assert not list(tmp_path.iterdir())

    def test_nearest_is_named(self, command, tmp_path):
        tracking.connect(sqlite(tmp_path / "stores"))
        told = error_line(command(sqlite(tmp_path / "stroes"), "runs"))
        assert told.endswith(f"does not exist; did you mean {sqlite(tmp_path / 'stores')}?")

    def test_resume(self, mistake, tmp_path):
        assert "does not exist" in mistake("data=digits", "resume=abcd", f"tracking.uri={sqlite(tmp_path / 'none')}")

    def test_file_of_another_program(self, command, tmp_path):
        with sqlite3.connect(tmp_path / "mlflow.db") as connection:
            connection.execute("CREATE TABLE studies (id INTEGER)")
        before = files(tmp_path)
        assert "is a SQLite file of another program" in error_line(command(sqlite(tmp_path), "runs"))
        with pytest.raises(InputError, match="is a SQLite file of another program"):
            tracking.connect(sqlite(tmp_path))
        assert files(tmp_path) == before


class TestDeleted:
    """What is deleted in MLflow's page."""

    @pytest.fixture
    def deleted(self, tmp_path) -> str:
        run_id = unfinished(tmp_path)
        mlflow.MlflowClient().delete_run(run_id)
        return run_id

    @pytest.mark.parametrize("length", [32, 8])
    def test_run_is_neither_resumed_nor_evaluated(self, command, mistake, deleted, tmp_path, length):
        told = f"run {deleted[:length]}: was deleted in MLflow; restore it there, in the runs with the state Deleted"
        assert mistake("data=digits", f"resume={deleted[:length]}", f"tracking.uri={sqlite(tmp_path)}") == told
        assert error_line(command(sqlite(tmp_path), "evaluate", deleted[:length])) == told

    @pytest.mark.parametrize("overrides", [(), ("resume=auto",), ("--multirun", "seed=1,2")], ids=str)
    def test_experiment(self, in_process, tmp_path, overrides):
        unfinished(tmp_path)
        client = mlflow.MlflowClient()
        client.delete_experiment(client.get_experiment_by_name("digits").experiment_id)
        done = in_process(*TINY, *overrides, f"tracking.uri={sqlite(tmp_path)}")
        assert error_line(done).startswith(
            "tracking.experiment=digits: was deleted in MLflow; set another name, or rest"
        )

    def test_run_that_trains_fails_and_keeps_its_state(self, tmp_path):
        tracking.connect(sqlite(tmp_path))
        with pytest.raises(TrainingError) as failure, tracking.start(settings(tmp_path)) as run:
            (run.folder / "state").write_text("a state")
            mlflow.MlflowClient().delete_run(run.id)
            run.log_metrics({"train/loss": 1.0}, step=1)
        assert str(failure.value).startswith(f"run {run.id}: ")
        assert "it was deleted in MLflow; restore it there, then resume the run (in sqlite:///" in str(failure.value)
        assert (run.folder / "state").exists()


class TestFailures:
    """Errors of the database and of its files are one line."""

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        """A store in a folder that others may enter; the test goes on as a user who may not write into it."""
        place = Path(tempfile.mkdtemp())
        place.chmod(0o755)
        try:
            yield place
        finally:
            os.setresuid(*os.getresuid()[2:] * 3)
            shutil.rmtree(place)

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
    @pytest.mark.parametrize("path", ["mlflow.db", "mlruns", "."])
    def test_not_writable(self, folder, path):
        tracking.connect(sqlite(folder))
        for place in (folder, *folder.rglob("*")):
            os.chown(place, NOBODY, -1)
        os.chown(folder / path, 0, -1)
        os.setresuid(NOBODY, NOBODY, 0)
        with pytest.raises(InputError) as refusal:
            store.check(settings(folder))
        reason = f"{(folder / path).resolve()}: Permission denied; make the folder and its files readable"
        assert reason in str(refusal.value)
        tracking.connect_existing(sqlite(folder))
        assert queries.search_runs() == []

    def test_full(self, tmp_path):
        tracking.connect(sqlite(tmp_path))

        def limit(connection, *_):
            connection.execute("PRAGMA max_page_count = 1")

        try:
            with pytest.raises(TrainingError) as failure, tracking.start(settings(tmp_path)) as run:
                event.listen(Engine, "checkout", limit)
                run.log_tags({str(number): "x" * 5000 for number in range(99)})
        finally:
            event.remove(Engine, "checkout", limit)
        assert "database or disk is full; free space there" in str(failure.value)


@pytest.mark.slow
def test_project_that_is_copied_is_used_throughout_and_the_original_left_alone(tmp_path):
    """Train in a project, copy it, make the original unreadable; then everything in the copy."""
    original, copy = tmp_path / "original", tmp_path / ODD
    command = ["git", "ls-files", "-z", "run.py", "cifar", "conf", "hydra_plugins"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0")[:-1]:
        (original / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, original / name)
    tiny = (*TINY, "callbacks=[checkpoint]")

    def run(project: Path, *arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=project, env=clean_environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done
        return done.stdout

    def trained(project: Path, *overrides: str) -> str:
        return run(project, "run.py", *tiny, *overrides).split()[1].rstrip(":")

    first, second = trained(original), trained(original, "seed=1")
    command = [sys.executable, "-u", "run.py", *tiny, "epochs=1000"]
    with subprocess.Popen(command, cwd=original, env=clean_environment(), stdout=subprocess.PIPE, text=True) as process:
        killed = next(process.stdout).split()[1].rstrip(":")
        next(line for line in process.stdout if line.startswith("epoch"))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    shutil.copytree(original, copy)
    before = files(original)
    hidden = original.rename(tmp_path / "hidden")  # what looks for it fails

    assert first[:8] in run(copy, "-m", "cifar", "runs")
    assert "test/accuracy" in run(copy, "-m", "cifar", "evaluate", first)
    assert "McNemar" in run(copy, "-m", "cifar", "compare", first, second)
    image = copy / "image.png"
    Image.fromarray(np.zeros([8, 8], np.uint8)).save(image)
    assert json.loads(run(copy, "-m", "cifar", "predict", first, image.name))["image"] == image.name
    assert run(copy, "run.py", f"resume={killed}", "epochs=100").startswith(f"run {killed}: ")
    added = trained(copy, "seed=2")
    assert (copy / "mlruns" / added / "artifacts" / "model.weights.h5").exists()
    assert {path.name for path in tmp_path.iterdir()} == {hidden.name, copy.name}
    hidden.rename(original)
    assert files(original) == before

"""Runs in the store: status however they end, metrics at their steps, and many processes at once."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import mlflow
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cifar import tracking
from cifar.config import overrides
from cifar.config.compose import read, resolve
from cifar.config.registry import DATASETS
from cifar.config.settings import TrackingSettings, flatten
from cifar.interfaces import Evaluation
from cifar.runtime import interrupts
from cifar.runtime.errors import InputError, Interrupted, Pruned, TrainingError
from cifar.runtime.paths import ROOT
from cifar.tracking import addresses, queries, store
from cifar.tracking.sweeps import SweepRun
from helpers.processes import clean_environment, run_warm, wait_for
from helpers.runs import composed, sqlite


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    """A store that is there already."""
    uri = sqlite(tmp_path_factory.mktemp("store"))
    tracking.connect(uri)
    return uri


def test_store_that_is_killed_while_it_is_made_is_made_by_the_next(tmp_path):
    script = f"from cifar import tracking; tracking.connect({sqlite(tmp_path)!r})"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=clean_environment())
    partial = tmp_path / "mlflow.db.partial"
    wait_for(lambda: partial.exists() and partial.stat().st_size)
    process.kill()
    process.wait()
    assert not (tmp_path / "mlflow.db").exists()
    backup = tmp_path / "mlflow.db.partial.zip"
    backup.write_text("of the user's")
    tracking.connect(sqlite(tmp_path))
    assert mlflow.MlflowClient(sqlite(tmp_path)).search_experiments()
    assert list(tmp_path.glob("*.partial*")) == [backup]


def test_sweep_that_is_told_to_end_does_not_wait_for_its_server(tmp_path, monkeypatch):
    monkeypatch.setattr(addresses, "LOCAL", sqlite(tmp_path))
    with interrupts.handled(), interrupts.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        settings = TrackingSettings(uri=None, experiment="digits", name="a sweep", parent=None)
        run = SweepRun("http://127.0.0.1:1", settings)
        run.log_tags({"failure": "interrupted"})
    assert mlflow.MlflowClient(sqlite(tmp_path)).get_run(run.id).data.tags["failure"] == "interrupted"


@pytest.fixture
def settings(uri, request) -> TrackingSettings:
    """Settings that record into an experiment of the test's own."""
    tracking.connect(uri)
    return TrackingSettings(uri=uri, experiment=request.node.name, name="a run", parent=None)


def artifact(uri: str, run_id: str, path: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, tracking_uri=uri))


class TestStatus:
    """What the store says of a run that has ended."""

    def test_finished_run_leaves_only_artifacts(self, settings):
        with tracking.start(settings) as run:
            (run.folder / "history.csv").write_text("epoch\n1\n")
            (run.folder / "model.weights.h5").write_bytes(b"weights")
            run.keep_files()
        assert mlflow.MlflowClient(settings.uri).get_run(run.id).info.status == "FINISHED"
        assert not run.folder.exists()
        assert artifact(settings.uri, run.id, "history.csv").read_text() == "epoch\n1\n"
        kept = {file.path for file in mlflow.MlflowClient(settings.uri).list_artifacts(run.id)}
        assert kept == {"history.csv", "model.weights.h5"}

    def test_folder_that_the_run_did_not_make_stays(self, settings):
        with pytest.raises(KeyboardInterrupt), tracking.start(settings) as run:
            raise KeyboardInterrupt
        shutil.rmtree(run.folder)
        run.folder.mkdir()
        (run.folder / "thesis.txt").write_text("years of work")
        with tracking.start(settings, tracking.locked(run.id)):
            pass
        assert (run.folder / "thesis.txt").read_text() == "years of work"

    @pytest.mark.parametrize(
        ("error", "status", "reason"),
        [
            (RuntimeError("no memory"), "FAILED", "RuntimeError: no memory"),
            (TrainingError("the loss is nan"), "FAILED", "the loss is nan"),
            (SystemExit(3), "FAILED", "SystemExit: 3"),
            (Pruned(3), "KILLED", "pruned in epoch 3"),
            (Interrupted(2), "KILLED", "interrupted by SIGINT"),
            (Interrupted(15), "KILLED", "interrupted by SIGTERM"),
            (KeyboardInterrupt(), "KILLED", "KeyboardInterrupt"),
            (
                MemoryError("Unable to allocate 3 GiB"),
                "FAILED",
                "out of memory: Unable to allocate 3 GiB; a smaller batch_size, model or data.limit needs less",
            ),
            (OSError(28, "No space left on device", "/a"), "FAILED", "/a: No space left on device"),
        ],
        ids=repr,
    )
    def test_run_that_an_exception_ends(self, settings, error, status, reason):
        with pytest.raises(type(error)), tracking.start(settings) as run:
            raise error
        ended = mlflow.MlflowClient(settings.uri).get_run(run.id)
        assert ended.info.status == status
        assert ended.info.end_time
        assert ended.data.tags["failure"] == reason
        if status == "FAILED":
            assert type(error).__name__ in artifact(settings.uri, run.id, "traceback.txt").read_text()

    def test_run_whose_process_is_gone_is_ended_by_the_next(self, settings):
        script = """
import os, sys
from cifar import tracking
from cifar.config.settings import TrackingSettings
tracking.connect(sys.argv[1])
with tracking.start(TrackingSettings(uri=sys.argv[1], experiment=sys.argv[2], name="a run", parent=None)) as run:
    print(run.id, flush=True)
    os._exit(9)
"""
        gone = run_warm("-c", script, settings.uri, settings.experiment).stdout.strip()
        client = mlflow.MlflowClient(settings.uri)
        assert client.get_run(gone).info.status == "RUNNING"
        with tracking.start(settings) as run:
            assert client.get_run(gone).info.status == "KILLED"
            assert client.get_run(run.id).info.status == "RUNNING"


class TestRecords:
    """What goes into a run comes out of it."""

    def test_metrics_keep_their_steps(self, settings):
        with tracking.start(settings) as run:
            for epoch in (1, 2, 3):
                run.log_metrics({"val/loss": 1 / epoch, "lr": 0.1}, step=epoch)
            run.log_metrics({"test/loss": 0.5})
        client = mlflow.MlflowClient(settings.uri)
        history = client.get_metric_history(run.id, "val/loss")
        assert [(point.step, point.value) for point in history] == [(1, 1), (2, 1 / 2), (3, 1 / 3)]
        assert client.get_run(run.id).data.metrics == {"val/loss": 1 / 3, "lr": 0.1, "test/loss": 0.5}

    def test_settings_come_back(self, settings, compose):
        stated = compose("experiment=quickstart", "callbacks=none")
        with tracking.start(settings) as run:
            run.log_settings(stated)
            (run.folder / "model.weights.h5").write_bytes(b"weights")
            run.log_tags({"dataset_fingerprint": "abc"})
            run.keep_files()
        read, weights, fingerprint = tracking.stored_run(settings.uri, run.id)
        assert (read, weights.read_bytes(), fingerprint) == (stated, b"weights", "abc")
        params = mlflow.MlflowClient(settings.uri).get_run(run.id).data.params
        assert params == {key: str(value) for key, value in flatten(stated).items()}

    def test_password_is_not_among_the_settings(self, settings):
        given = composed("data=digits", "tracking.uri='postgresql://me:sec@ret@host/runs'")
        stated = resolve(given)
        with tracking.start(settings) as run:
            run.log_settings(stated)
        params = mlflow.MlflowClient(settings.uri).get_run(run.id).data.params
        assert params["tracking.uri"] == "postgresql://me:***@host/runs"
        stored = artifact(settings.uri, run.id, "config.yaml").read_text()
        assert "sec" not in stored
        assert overrides.changed(read(stored), given, []).tracking.uri == stated.tracking.uri

    def test_evaluation_comes_back(self, settings):
        def line() -> Figure:
            figure = Figure(figsize=(4, 4))
            figure.subplots().plot([0, 1])
            return figure

        rows = [{"index": 0, "label": 'a, "b"\nc'}, {"index": 1, "label": "é"}]
        with tracking.start(settings) as run:
            run.log_evaluation(
                Evaluation(
                    metrics={"accuracy": 0.25},
                    tables={"rows.csv": rows, "report.json": {"a": [1, None]}, "report.txt": "one\ntwo"},
                ),
                "test",
            )
            run.log_figures({"line": line})
        assert mlflow.MlflowClient(settings.uri).get_run(run.id).data.metrics == {"test/accuracy": 0.25}
        with artifact(settings.uri, run.id, "tables/rows.csv").open(newline="") as file:
            assert list(csv.DictReader(file)) == [{"index": str(row["index"]), "label": row["label"]} for row in rows]
        assert json.loads(artifact(settings.uri, run.id, "tables/report.json").read_text()) == {"a": [1, None]}
        assert artifact(settings.uri, run.id, "tables/report.txt").read_text() == "one\ntwo"
        with Image.open(artifact(settings.uri, run.id, "pictures/line.png")) as picture:
            assert picture.format == "PNG"

    def test_what_is_not_finite_is_left_out_with_a_warning(self, settings, capfd):
        rows = [{"class": "cat", "iou": math.nan}, {"class": "dog", "iou": 0.5}]
        with tracking.start(settings) as run:
            run.log_metrics({"kappa": math.nan, "accuracy": 0.5, "loss": math.inf})
            run.log_table(rows, "rows.csv")
            run.log_table({"kappa": math.nan, "loss": [math.inf]}, "report.json")
        assert mlflow.MlflowClient(settings.uri).get_run(run.id).data.metrics == {"accuracy": 0.5}
        warned = capfd.readouterr().err.splitlines()
        assert warned == ["warning: kappa not recorded: it is nan", "warning: loss not recorded: it is inf"]
        report = json.loads(artifact(settings.uri, run.id, "tables/report.json").read_text())
        assert report == {"kappa": None, "loss": [None]}
        assert artifact(settings.uri, run.id, "tables/rows.csv").read_text() == "class,iou\ncat,\ndog,0.5\n"

    def test_picture_that_cannot_be_drawn_is_a_warning_and_a_tag(self, settings, capfd):
        def broken() -> Figure:
            raise ValueError("no such font\nanywhere")

        with tracking.start(settings) as run:
            run.log_figures({"broken": broken, "line": Figure})
        recorded = mlflow.MlflowClient(settings.uri).get_run(run.id)
        assert recorded.info.status == "FINISHED"
        assert recorded.data.tags["not_recorded.picture broken"] == "ValueError: no such font"
        assert capfd.readouterr().err == "warning: picture broken not recorded: ValueError: no such font\n"
        assert artifact(settings.uri, run.id, "pictures/line.png").exists()

    def test_system_metrics_that_cannot_be_had_are_a_warning_and_a_tag(self, settings, capfd, monkeypatch):
        monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
        monkeypatch.setitem(sys.modules, "psutil", None)
        with tracking.start(settings) as run:
            pass
        recorded = mlflow.MlflowClient(settings.uri).get_run(run.id)
        assert recorded.info.status == "FINISHED"
        assert "psutil" in recorded.data.tags["not_recorded.system metrics"]
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith("warning: system metrics not recorded: ModuleNotFoundError: ")

    def test_dataset_comes_back(self, settings):
        data = {"name": "digits", "test_fraction": 0.2, "val_fraction": 0.1, "limit": 100}
        dataset = DATASETS.build(data, seed=0)
        with tracking.start(settings) as run:
            run.log_dataset(dataset)
        stored = mlflow.MlflowClient(settings.uri).get_run(run.id)
        assert stored.data.tags["dataset_fingerprint"] == dataset.fingerprint
        assert stored.data.tags["test_fingerprint"] == dataset.test_fingerprint
        (entry,) = stored.inputs.dataset_inputs
        assert entry.dataset.name == "digits"
        assert np.prod(json.loads(entry.dataset.profile)["features_shape"]) == dataset.train.images.size

    def test_child_is_the_newest_of_its_name(self, settings):
        with tracking.sweep(settings, "key", [settings.experiment], True) as parent:
            assert parent.child("lr=1", settings.experiment) is None
            of_parent = settings.model_copy(update={"parent": parent.id})
            for name, value in (("lr=1", 0.1), ("lr=2", 0.2), ("lr=1", 0.3)):
                with tracking.start(of_parent.model_copy(update={"name": name})) as child:
                    child.log_metrics({"test/accuracy": value})
            with tracking.start(settings):
                pass
            found = {name: parent.child(name, settings.experiment) for name in ("lr=1", "lr=2")}
        assert {name: (child.status, child.metrics) for name, child in found.items()} == {
            "lr=1": ("FINISHED", {"test/accuracy": 0.3}),
            "lr=2": ("FINISHED", {"test/accuracy": 0.2}),
        }
        assert found["lr=1"].id == child.id

    def test_pruned_child_is_told_from_a_killed_one(self, settings):
        with tracking.sweep(settings, "key", [settings.experiment], True) as parent:
            for name, error in (("pruned", Pruned(2)), ("killed", Interrupted(15))):
                own = settings.model_copy(update={"parent": parent.id, "name": name})
                with contextlib.suppress(type(error)), tracking.start(own):
                    raise error
            found = {name: parent.child(name, settings.experiment) for name in ("pruned", "killed")}
        assert (found["pruned"].status, found["pruned"].reason) == ("PRUNED", "pruned in epoch 2")
        assert (found["killed"].status, found["killed"].reason) == ("KILLED", "interrupted by SIGTERM")

    def test_sweep_of_the_same_key_is_gone_on_with(self, settings):
        ids = []
        for key, resume in (("a", True), ("a", True), ("b", True), ("a", False), ("a", True)):
            with tracking.sweep(settings, key, [settings.experiment], resume) as run:
                ids.append(run.id)
        assert ids[0] == ids[1]
        assert len({ids[0], ids[2], ids[3]}) == 3
        assert ids[4] == ids[3], "the newest"

    def test_child_has_one_claim_at_a_time(self, settings):
        own = [settings.experiment]
        with tracking.sweep(settings, "one", own, True) as one, tracking.sweep(settings, "other", own, True) as other:
            lock = one.lock("lr=1")
            assert one.lock("lr=1") is None
            assert one.lock("lr=2") is not None
            assert other.lock("lr=1") is not None
            lock.release()
            assert one.lock("lr=1") is not None
        locks = store.folder(settings.uri) / ".claims"
        assert locks.is_dir()
        assert not {one.id, other.id} & {path.name for path in locks.iterdir()}


class TestQueries:
    """What is read of stored runs."""

    def test_run_is_found_by_the_beginning_of_its_id(self, settings):
        with tracking.start(settings) as run:
            run.log_metrics({"test/loss": 0.5})
        (found,) = queries.find_runs([run.id[:10]])
        assert (found.id, found.name, found.status, found.experiment, found.parent, dict(found.metrics)) == (
            run.id, "a run", "FINISHED", settings.experiment, None, {"test/loss": 0.5},
        )  # fmt: skip
        assert 0 <= found.seconds < 60
        assert abs((datetime.now() - found.start).total_seconds()) < 60

    def test_beginning_that_several_ids_share(self, settings, monkeypatch):
        with tracking.start(settings) as run, tracking.start(settings) as other:
            pass
        both = [mlflow.get_run(run.id), mlflow.get_run(other.id)]
        monkeypatch.setattr(mlflow, "search_runs", lambda **_: both)
        with pytest.raises(InputError, match=f"^run abcd: 2 runs begin so: {run.id}, {other.id}$"):
            queries.find("abcd")

    @pytest.mark.parametrize("run_id", ["", "a", "abc"])
    def test_beginning_that_is_too_short(self, settings, run_id):
        with pytest.raises(InputError, match=f"^run {run_id}: should be at least the first 4 characters of a run's id"):
            queries.find(run_id)

    def test_history_has_a_value_an_epoch_and_a_gap_for_one_that_is_missing(self, settings):
        with tracking.start(settings) as run:
            for epoch in (1, 2, 4):
                run.log_metrics({"val/loss": 1 / epoch, "lr": 0.1}, step=epoch)
            run.log_metrics({"best/loss": 0.25})
        (found,) = queries.find_runs([run.id])
        history = queries.history(found, ["val/loss", "best/loss", "nothing"])
        assert history.keys() == {"val/loss", "best/loss"}
        np.testing.assert_array_equal(history["val/loss"], [1, 1 / 2, math.nan, 1 / 4])
        assert history["best/loss"] == []

    def test_predictions_come_back(self, settings):
        rows = [{"label": "cat", "predicted": "dog", "label_probability": 0.25},
                {"label": "a, \"b\"", "predicted": "a, \"b\"", "label_probability": 0.75}]  # fmt: skip
        with tracking.start(settings) as run:
            run.log_table(rows, "predictions.csv")
        found = queries.predictions(queries.find_runs([run.id])[0])
        assert found.correct.tolist() == [False, True]
        assert found.label_probability.tolist() == [0.25, 0.75]

    def test_children_are_the_runs_of_a_sweep_in_the_order_of_their_start(self, settings):
        with tracking.start(settings) as parent:
            of_parent = settings.model_copy(update={"parent": parent.id, "experiment": f"{settings.experiment} too"})
            for name in "abc":
                with tracking.start(of_parent.model_copy(update={"name": name})):
                    pass
        assert [run.name for run in queries.children(queries.find_runs([parent.id])[0])] == ["a", "b", "c"]

    def test_mistake_tells_no_password(self, monkeypatch):
        monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "postgresql://me:secret@host:1/runs")
        with pytest.raises(InputError, match=r"\(in postgresql://me:\*\*\*@host:1/runs\)$"):
            queries.find("nothing")


class TestStore:
    """Opening it."""

    def test_eight_processes_may_be_the_first_at_once_and_no_row_is_lost(self, tmp_path):
        script = """
import sys
from cifar import tracking
from cifar.config.settings import TrackingSettings
tracking.connect(sys.argv[1])
with tracking.start(TrackingSettings(uri=sys.argv[1], experiment="digits", name=sys.argv[2], parent=None)) as run:
    for step in range(1, 201):
        run.log_metrics({"loss": float(sys.argv[2]) * step}, step)
"""
        names = "12345678"
        with ThreadPoolExecutor(8) as pool:
            ended = list(pool.map(lambda name: run_warm("-c", script, sqlite(tmp_path / "new"), name), names))
        assert [(done.code, done.stderr) for done in ended] == [(0, "")] * 8
        client = mlflow.MlflowClient(sqlite(tmp_path / "new"))
        runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
        assert sorted((run.info.run_name, run.info.status) for run in runs) == [(name, "FINISHED") for name in names]
        for run in runs:
            rows = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "loss")]
            assert rows == [(step, float(run.info.run_name) * step) for step in range(1, 201)]

    def test_place_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match=r"^tracking\.uri=sqlite:///.*/file/mlflow\.db: cannot be opened: [^\n]+$"):
            tracking.connect(sqlite(tmp_path / "file"))

    def test_file_that_is_no_database(self, tmp_path):
        (tmp_path / "mlflow.db").write_text("not SQLite" * 100)
        with pytest.raises(InputError, match=r"^tracking\.uri=sqlite:///.*: cannot be opened: [^\n]+$"):
            tracking.connect(sqlite(tmp_path))

    @pytest.mark.parametrize("run_id", ["0" * 32, "nothing", "", "../etc"])
    def test_unknown_run(self, uri, run_id):
        with pytest.raises(InputError, match=r"^run [^\n]+$"):
            tracking.stored_run(uri, run_id)

    def test_run_that_has_no_weights_yet(self, settings):
        with tracking.start(settings) as run, pytest.raises(InputError, match=f"^run {run.id}: [^\n]+$"):
            tracking.stored_run(settings.uri, run.id)

    def test_bare_mlflow_at_the_root_finds_the_default_store(self):
        assert sqlite(ROOT) == addresses.LOCAL

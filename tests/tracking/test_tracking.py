"""What a run records, and how it ends."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import shutil
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import keras
import mlflow
import numpy as np
import pytest
from matplotlib.figure import Figure
from mlflow.utils import requirements_utils
from PIL import Image

from cifar import tracking
from cifar.config import overrides
from cifar.config.compose import read, resolve
from cifar.config.registry import DATASETS
from cifar.config.settings import TrackingSettings, flatten
from cifar.interfaces import Evaluation
from cifar.runtime import interrupts
from cifar.runtime.errors import Interrupted, Pruned, TrainingError
from cifar.tracking import addresses, store
from cifar.tracking.run import Run
from cifar.tracking.sweeps import SweepRun
from helpers import drawing
from helpers.processes import run_warm
from helpers.runs import composed, sqlite


def test_sweep_that_is_told_to_end_does_not_wait_for_its_server(tmp_path, monkeypatch):
    monkeypatch.setattr(addresses, "LOCAL", sqlite(tmp_path))
    with interrupts.handled(), interrupts.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        settings = TrackingSettings(uri=None, experiment="digits", name="a sweep", parent=None)
        run = SweepRun("http://127.0.0.1:1", settings)
        run.log_tags({"failure": "interrupted"})
    with interrupts.handled():
        pass  # the signal is forgotten
    assert mlflow.MlflowClient(sqlite(tmp_path)).get_run(run.id).data.tags["failure"] == "interrupted"


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
                "out of memory: Unable to allocate 3 GiB; accumulate_steps=2, a smaller batch_size, model or "
                "data.limit needs less",
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

    def test_model_with_its_signature_and_requirements(self, settings, monkeypatch):
        monkeypatch.setattr(
            requirements_utils.importlib_metadata, "packages_distributions", lambda: pytest.fail("reads all packages")
        )
        model = keras.Sequential([keras.Input((2, 2, 3), dtype="uint8"), keras.layers.Flatten(), keras.layers.Dense(5)])
        with tracking.start(settings) as run:
            run.log_model(model, np.zeros((4, 2, 2, 3), np.uint8))
        client = mlflow.MlflowClient(settings.uri)
        (recorded,) = client.search_logged_models([client.get_run(run.id).info.experiment_id])
        signature = mlflow.models.get_model_info(recorded.model_uri).signature
        assert [(spec.type, spec.shape) for spec in (*signature.inputs, *signature.outputs)] == [
            (np.dtype("uint8"), (-1, 2, 2, 3)),
            (np.dtype("float32"), (-1, 5)),
        ]
        requirements = artifact(settings.uri, run.id, "model/requirements.txt").read_text().split()
        assert [line.partition("==")[0] for line in requirements] == ["mlflow", "tensorflow", "keras", "numpy"]

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

    def test_evaluation_comes_back(self, settings, monkeypatch):
        monkeypatch.setattr(mlflow.MlflowClient, "log_figure", drawing.DRAWN)

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
            run.log_figures({"line": line}, "digits")
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
            run.log_figures({"broken": broken, "line": Figure}, "digits")
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

    def test_jobs_that_begin_at_once_have_one_dataset(self, settings):
        dataset = DATASETS.build({"name": "digits", "test_fraction": 0.2, "val_fraction": 0.1, "limit": 50}, seed=0)
        for trial in range(3):
            renamed = replace(dataset, name=f"digits {trial}")
            runs = [Run(settings.uri, settings) for _ in range(6)]
            start = threading.Barrier(len(runs))

            def log(run: Run) -> None:
                start.wait()  # noqa: B023
                run.log_dataset(renamed)  # noqa: B023

            with ThreadPoolExecutor(len(runs)) as pool:
                list(pool.map(log, runs))
            client = mlflow.MlflowClient(settings.uri)
            digests = {entry.dataset.digest for run in runs for entry in client.get_run(run.id).inputs.dataset_inputs}
            assert len(digests) == 1

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
            lock, child = one.claim("lr=1", "Default")
            assert child is None
            assert one.claim("lr=1", "Default") is None
            assert one.claim("lr=2", "Default") is not None
            assert other.claim("lr=1", "Default") is not None
            lock.release()
            assert one.claim("lr=1", "Default") is not None
        locks = store.folder(settings.uri) / ".claims"
        assert locks.is_dir()
        assert not {one.id, other.id} & {path.name for path in locks.iterdir()}

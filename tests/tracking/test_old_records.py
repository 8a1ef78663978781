"""Runs that commit dd9afeb recorded, by old names of settings and metrics, are used as those of today."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Metric, Param, RunTag

from cifar import tracking
from cifar.tracking import queries, store
from helpers.runs import sqlite

RECORDS = Path(__file__).parent / "records"
SCENES = (
    "data=scenes", "data@data.source=digits", "data.size=16", "data.min_scale=0.5", "data.max_scale=0.5",
    "data.num_train=20", "data.num_val=10", "data.num_test=10", "task=detection", "task.levels=[1,2]",
    "task.fpn_channels=2", "task.head_depth=0", "model=cnn", "augmentation=none", "optimizer.lr=0.01",
    "model.blocks=[{filters: 2, pool: max},{filters: 2, pool: max}]", "callbacks=[checkpoint]",
    "callbacks.checkpoint.monitor=val/positive_accuracy", "schedule=constant", "weight_averaging=ema", "batch_size=2",
    "state.minutes=1e-6", "tracking.experiment=old", "tracking.name=unfinished",
)  # fmt: skip
"""Today's command of the record `unfinished`."""


def restored(uri: str, name: str, folder: Path) -> str:
    """The id of the record `name` in the store at `uri`, to which it is added."""
    with zipfile.ZipFile(RECORDS / f"{name}.zip") as file:
        file.extractall(folder / name)
    record = json.loads((folder / name / "run.json").read_text())
    tracking.connect(uri)
    client = mlflow.MlflowClient(uri)
    run_id = client.create_run(store.experiment_id(uri, "old"), run_name=name).info.run_id
    points = [Metric(key, value, 0, step) for key, values in record["metrics"].items() for step, value in values]
    client.log_batch(run_id, points, [Param(*item) for item in record["params"].items()],
                     [RunTag(*item) for item in record["tags"].items()])  # fmt: skip
    client.log_artifacts(run_id, folder / name / "artifacts")
    if (folder / name / "work").exists():
        shutil.copytree(folder / name / "work", store.folder(uri) / run_id / "work")
    client.set_terminated(run_id, record["status"])
    return run_id


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> tuple[str, dict[str, str]]:
    """A store, and the ids of the finished records in it by their names."""
    folder = tmp_path_factory.mktemp("old")
    uri = sqlite(folder)
    return uri, {name: restored(uri, name, folder) for name in ("classification", "detection")}


@pytest.mark.parametrize(
    ("name", "metrics"),
    [("classification", {"test/accuracy", "test/ece"}), ("detection", {"test/map", "test/ar100"})],
)
def test_they_are_evaluated_again_with_the_same_result(old, command, name, metrics):
    uri, ids = old
    done = command(uri, "evaluate", ids[name])
    assert (done.code, done.stderr) == (0, "")
    (run,) = queries.find_runs([ids[name]])
    found = dict(line.split() for line in done.stdout.splitlines() if line.startswith("test/"))
    assert found.keys() >= metrics and found.keys() == {key for key in run.metrics if key.startswith("test/")}
    assert all(float(value) == pytest.approx(run.metrics[key], abs=1e-4) for key, value in found.items())


@pytest.mark.parametrize("name", ["classification", "detection"])
def test_they_predict(old, command, name, tmp_path):
    from PIL import Image

    Image.new("L", (8, 8), 128).save(tmp_path / "one.png")
    uri, ids = old
    done = command(uri, "predict", ids[name], tmp_path / "one.png")
    assert (done.code, done.stderr) == (0, "") and "one.png" in done.stdout


def test_they_are_listed_by_the_new_names(old, command):
    uri, ids = old

    def runs(*arguments: str) -> list[str]:
        done = command(uri, "runs", *arguments)
        assert (done.code, done.stderr) == (0, ""), done
        return [name for name, run_id in ids.items() if run_id[:8] in done.stdout]

    assert runs("--sort", "test/ece") == runs("--filter", "test/ece>0") == ["classification"]
    assert runs("--sort", "test/ar100") == runs("--filter", "test/ar100>=0") == ["detection"]
    assert runs("--filter", "params.`weight_averaging.sync_period` = '5'") == ["classification"]
    assert runs("--filter", "metrics.`best/positive_accuracy` > 0") == ["detection"]
    done = command(uri, "runs", "--sort", "test/recall")
    assert (done.code, done.stderr) == (2, "error: metric test/recall: no run has it; it is called test/ar100 now\n")
    for old_name, new_name in (("params.`averaging.name` = 'ema'", "averaging.name is called weight_averaging.name"),
                               ("metrics.`test/recall` > 0", "test/recall is called test/ar100")):  # fmt: skip
        done = command(uri, "runs", "--filter", old_name)
        assert (done.code, done.stderr) == (2, f"error: --filter: {new_name} now\n")
    done = command(uri, "compare", *ids.values(), "--ignore", "averaging")
    assert done.stderr == "error: --ignore averaging: no run has such a setting; it is called weight_averaging now\n"


def test_their_histories_have_the_new_names(old):
    _, ids = old
    (run,) = queries.find_runs([ids["detection"]])
    history = queries.history(run, ["train/positive_accuracy", "val/positive_accuracy", "val/loss"])
    assert [len(values) for values in history.values()] == [2, 2, 2]


def test_one_is_compared_with_a_run_of_today(old, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri, ids = old
    (run,) = queries.find_runs([ids["classification"]])
    settings = queries.settings(run)
    tracking.connect(uri)
    with tracking.start(settings.tracking.model_copy(update={"name": "today"})) as today:
        today.log_settings(settings.model_copy(update={"batch_size": 65}))
        today.log_metrics({name: value for name, value in run.metrics.items() if name.startswith(("test/", "best/"))})
        today.log_tags({"test_fingerprint": run.tags["test_fingerprint"]})
        with zipfile.ZipFile(RECORDS / "classification.zip") as file:
            today.log_text(file.read("artifacts/tables/predictions.csv").decode(), "tables/predictions.csv")
    done = command(uri, "compare", run.id, today.id)
    assert (done.code, done.stderr) == (0, "")
    settings_that_differ = done.stdout.partition("Settings that differ")[2].partition("Time and cost")[0]
    assert "batch_size" in settings_that_differ and "schedule" not in settings_that_differ
    assert "averaging" not in settings_that_differ
    page = (tmp_path / "comparison.html").read_text()
    assert "test/ece" in page and "calibration_error" not in page


@pytest.mark.slow
def test_one_that_ended_early_is_resumed(in_process, tmp_path):
    uri = sqlite(tmp_path)
    run_id = restored(uri, "unfinished", tmp_path)
    before = max(point.step for point in mlflow.MlflowClient(uri).get_metric_history(run_id, "val/accuracy"))
    done = in_process(*SCENES, f"epochs={before + 1}", "resume=auto", f"tracking.uri={uri}")
    assert done.code == 0 and f"run {run_id}" in done.stdout, done
    (run,) = queries.find_runs([run_id])
    assert run.status == "FINISHED" and {"test/ar100", "best/positive_accuracy"} <= run.metrics.keys()
    assert len(queries.history(run, ["val/positive_accuracy"])["val/positive_accuracy"]) == before + 1

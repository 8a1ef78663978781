"""Stores that are made, by one process or several at once, and those that cannot be opened."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest

from cifar import tracking
from cifar.runtime.errors import InputError
from cifar.runtime.paths import ROOT
from cifar.tracking import addresses
from helpers.processes import clean_environment, run_warm, wait_for
from helpers.runs import sqlite


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


class TestStore:
    """Opening it."""

    @pytest.mark.slow
    def test_eight_processes_may_be_the_first_at_once_and_no_row_is_lost(self, tmp_path):
        script = """
import sys
from cifar import tracking
from cifar.config.settings import TrackingSettings
tracking.connect(sys.argv[1])
with tracking.start(TrackingSettings(uri=sys.argv[1], experiment="digits", name=sys.argv[2], parent=None)) as run:
    for step in range(1, 51):
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
            assert rows == [(step, float(run.info.run_name) * step) for step in range(1, 51)]

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

"""Runs are found again, with their histories and predictions."""

from __future__ import annotations

import math
from datetime import datetime

import mlflow
import numpy as np
import pytest

from cifar import tracking
from cifar.runtime.errors import InputError
from cifar.tracking import queries


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

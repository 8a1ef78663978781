"""What MLflow's page shows first: descriptions, columns, and the address of the runs."""

from __future__ import annotations

import json

import mlflow
import pytest

from cifar.tracking import notes, view
from helpers.runs import record, sqlite


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    return sqlite(tmp_path_factory.mktemp("notes"))


@pytest.fixture(scope="module")
def run(uri) -> mlflow.entities.Run:
    given = ("+tracking.tags.paper=figure 2", "tracking.note='*Why*: a test.'")
    return mlflow.MlflowClient(uri).get_run(record(uri, "first", *given))


class TestRun:
    def test_description_has_note_command_and_scores(self, run):
        note, command, table = run.data.tags[notes.NOTE].split("\n\n")
        assert note == "*Why*: a test."
        assert command.startswith("```\npython ")
        rows = dict(line.strip("| ").split(" | ") for line in table.splitlines())
        assert float(rows["test/accuracy"]) == pytest.approx(run.data.metrics["test/accuracy"], abs=1e-4)
        assert list(rows)[2:4] == ["test/accuracy", "test/loss"] and rows["best/epoch"] == "3"

    def test_has_its_tags(self, run):
        assert run.data.tags["paper"] == "figure 2"

    def test_page_opens_on_its_columns(self, uri, run, monkeypatch):
        from cifar.tracking import page

        tags = mlflow.MlflowClient(uri).get_experiment(run.info.experiment_id).tags
        columns = json.loads(tags[view.TAG])["selectedColumns"]
        assert columns[:3] == ["metrics.`test/accuracy`", "metrics.`best/accuracy`", "metrics.`best/loss`"]
        mlflow.set_tracking_uri(uri)
        assert page.newest_runs() == (
            f"#/experiments/{run.info.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=cifar"
        )


def test_command_as_typed_without_passwords(monkeypatch):
    typed = ["/usr/bin/python3", "run.py", "model.filters=[8, 16]", "tracking.uri=http://me:secret@host"]
    assert notes.shown(typed) == "python run.py 'model.filters=[8, 16]' 'tracking.uri=http://me:***@host'"


def test_command_of_a_job_is_that_of_a_single_run():
    job = ["python", "run.py", "seed=1", "tracking.name=x", "tracking.parent=abc", "resume=auto", "hydra.mode=RUN"]
    assert notes.shown(job) == "python run.py seed=1"


def test_description_of_a_sweep_is_a_table():
    rows = [["lr", "best/loss"], *([f"{number}", "a|b"] for number in range(40))]
    note = notes.of_sweep("", "python run.py -m", rows)
    assert "| lr | best/loss |\n| --- | --- |\n| 0 | a\\|b |\n" in note
    assert len(notes.of_sweep("", "x" * 9000, [["lr"], *[["y" * 500]] * 30])) < 8000
    assert note.endswith("\n\n10 more in results.csv") and note.count("\n| ") == 32  # with header and rule

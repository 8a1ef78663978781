"""Runs trained again: equal to the bit, within the tolerance, or neither; and what cannot be tried."""

from __future__ import annotations

import dataclasses
import json
import math
from types import SimpleNamespace

import mlflow
import pytest

from cifar import tracking
from cifar.config.compose import resolve
from cifar.reproduction import comparison, provenance
from cifar.reproduction.comparison import Comparison
from cifar.tracking import environment, queries
from cifar.training import trainer
from cifar.training.experiment import Experiment
from helpers.processes import error_line
from helpers.runs import TINY, composed, record, sqlite

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> SimpleNamespace:
    """A finished run in a store of its own."""
    uri = sqlite(tmp_path_factory.mktemp("original"))
    settings = resolve(composed(f"tracking.uri={uri}", *TINY, "epochs=2", "callbacks=[checkpoint]"))
    experiment = Experiment.prepare(settings)
    tracking.connect(uri)
    with tracking.start(settings.tracking) as run:
        model = experiment.compiled_model()
        trainer.describe(experiment, model, run)
        trainer.finish(experiment, trainer.fit(experiment, model, run), run)
    return SimpleNamespace(uri=uri, id=run.id)


@pytest.fixture
def reproduced(original, command):
    """reproduced(*arguments): what `reproduce` of the run prints, and the run that it has trained, if any."""

    def reproduce(*arguments: str):
        client = mlflow.MlflowClient(original.uri)
        experiments = [found.experiment_id for found in client.search_experiments()]
        before = {run.info.run_id for run in client.search_runs(experiments)}
        done = command(original.uri, "reproduce", original.id[:10], *arguments)
        new = [run for run in client.search_runs(experiments) if run.info.run_id not in before]
        return done, new[0] if new else None

    return reproduce


def test_equal_to_the_bit(original, reproduced):
    done, run = reproduced()
    assert done.code == 0, done
    assert "equal bits are promised" in done.stdout
    assert done.stdout.endswith(
        f"run {original.id[:8]} is reproduced by run {run.info.run_id[:8]}: weights and metrics are equal to the bit\n"
    )
    assert run.data.tags["reproduction_of"] == original.id
    assert run.info.run_name == "cnn3 (reproduction)"
    recorded = mlflow.MlflowClient(original.uri).get_run(original.id)
    assert run.data.tags["weights_sha256"] == recorded.data.tags["weights_sha256"]
    assert run.data.metrics["test/loss"] == recorded.data.metrics["test/loss"]
    text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/reproduction.txt")
    assert "metrics are equal to the bit" in text


def test_other_versions_are_listed_and_scores_decide(reproduced, monkeypatch):
    now = environment.describe()
    monkeypatch.setattr(environment, "describe", lambda: now | {"keras": "99.0", "host": "elsewhere"})
    monkeypatch.setattr(Experiment, "schedule", lambda self, phase: lambda lr: 20 * lr)
    done, run = reproduced("--tolerance", "0.9")
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["recorded", "now"]
    assert ["keras", now["keras"], "99.0"] in [line.split() for line in lines]
    assert ["host", now["host"], "elsewhere"] in [line.split() for line in lines]
    assert "equal bits are not promised, because of keras\n" in done.stdout
    assert "train/loss differs from epoch 1 on: " in done.stdout
    assert done.code == 0, done
    assert run.data.tags["reproduction"] == "scores are within the tolerance"


def test_another_result_where_equal_bits_are_promised(reproduced, monkeypatch):
    monkeypatch.setattr(Experiment, "schedule", lambda self, phase: lambda lr: 20 * lr)
    done, run = reproduced()
    assert done.code == 1
    assert "failed: run " in done.stderr
    assert "differs, though code, data, versions and machine are the same" in done.stderr
    assert run.info.status == "FINISHED"


class TestCannotBeTried:
    def test_other_data(self, tmp_path, command):
        run = record(sqlite(tmp_path), "cnn3")
        client = mlflow.MlflowClient(sqlite(tmp_path))
        client.set_tag(run, "dataset_fingerprint", "0" * 64)
        line = error_line(command(sqlite(tmp_path), "reproduce", run))
        assert line.startswith("data: the images are not those of the run")
        assert len(client.search_runs([client.get_run(run).info.experiment_id])) == 1

    def test_not_finished(self, tmp_path, command):
        run = record(sqlite(tmp_path), "cnn3")
        mlflow.MlflowClient(sqlite(tmp_path)).set_terminated(run, "KILLED")
        assert error_line(command(sqlite(tmp_path), "reproduce", run)) == f"run {run}: the run is KILLED, not finished"

    def test_unknown_and_several(self, tmp_path, command):
        run = record(sqlite(tmp_path), "cnn3")
        assert error_line(command(sqlite(tmp_path), "reproduce", "0" * 32)).startswith(f"run {'0' * 32}: ")
        assert error_line(command(sqlite(tmp_path), "reproduce", run, run)).startswith(f"reproduce {run}: one run at")


MACHINE = {"keras": "3.15.1", "cores": 2, "host": "here", "gpu": ""}
START = {"epoch": 1, "step": 0, "git_commit": "a" * 40, "git_changes": "", "environment": MACHINE, "settings": {}}


class TestProvenance:
    @pytest.mark.parametrize(
        ("now", "expected"),
        [
            (MACHINE, []),
            (MACHINE | {"cores": 4}, [("cores", "2", "4", True)]),
            (MACHINE | {"host": "there"}, [("host", "here", "there", False)]),
        ],
    )
    def test_environment(self, now, expected):
        code = environment.Code("a" * 40, "")
        assert [tuple(found) for found in provenance.differences([START], code, now)] == expected

    def test_every_start_counts(self):
        later = START | {"epoch": 3, "environment": MACHINE | {"keras": "3.14.0"}}
        (found,) = provenance.differences([START, later], environment.Code("a" * 40, ""), MACHINE)
        assert found[:3] == ("keras", "3.15.1, 3.14.0", "3.15.1")

    def test_code(self, monkeypatch):
        changed = {"b" * 40: [], "c" * 40: ["cifar/nn/layers.py"], "d" * 40: None}
        monkeypatch.setattr(environment, "changed_modules", lambda commit: changed[commit])
        for commit, modules in changed.items():
            start = START | {"git_commit": commit}
            found = provenance.differences([start], environment.Code("a" * 40, ""), MACHINE)
            assert [one.name for one in found] == ([] if modules == [] else ["code"])
            assert provenance.differences([start], environment.Code("a" * 40, "diff"), MACHINE)
        assert provenance.differences([START | {"git_commit": None}], environment.Code(None, ""), MACHINE)

    def test_modules_changed_since_a_commit(self):
        assert environment.changed_modules("HEAD") == []
        assert environment.changed_modules("0" * 40) is None

    def test_a_run_of_an_earlier_version(self):
        start = {key: START[key] for key in START if key != "environment"}
        (found,) = provenance.differences([start], environment.Code("a" * 40, ""), MACHINE)
        assert found[:2] == ("versions and machine", "not recorded")

    def test_reasons(self, compose):
        settings = compose("data=digits")
        assert list(provenance.reasons(settings, [START], MACHINE)) == []
        resumed = START | {"epoch": 3, "settings": {"epochs": [4, 8]}}
        others = settings.model_copy(update={"deterministic": False})
        assert list(provenance.reasons(others, [START, resumed], MACHINE | {"gpu": "H100"})) == [
            "deterministic=false",
            "a GPU is used",
            "the run was resumed with epochs=8 instead of 4, from epoch 3 on",
        ]


class TestComparison:
    def test_scores_beyond_the_tolerance(self, tmp_path):
        uri = sqlite(tmp_path)
        tracking.connect(uri)
        ids = [record(uri, "cnn3", right=right) for right in (0.9, 0.85, 0.3)]
        first, second, third = (dataclasses.replace(run, tags={"weights_sha256": run.id})
                                for run in queries.find_runs(ids))  # fmt: skip
        images = {"val": 144, "test": 359}
        near, far = (Comparison.of(first, other, images, None) for other in (second, third))
        assert [score.is_within for score in near.scores] == [True, True]
        assert [score.is_within for score in far.scores] == [False, False]
        assert not near.is_equal
        assert Comparison.of(first, first, images, None).is_equal

    def test_tolerance(self):
        assert comparison.standard_errors(0.8, 10_000) == pytest.approx(3 * math.sqrt(2 * 0.16 / 10_000))
        assert comparison.standard_errors(1.0, 100) > 0.04


def test_starts_are_read_back(original):
    tracking.connect_existing(original.uri)
    (run,) = queries.find_runs([original.id])
    (start,) = tracking.starts_of(run)
    assert start["environment"] == json.loads(json.dumps(environment.describe()))

"""A study on a real PostgreSQL server that two sweeps share, of which one is killed within a trial."""

from __future__ import annotations

import subprocess
import sys

import mlflow
import optuna
import pytest

from cifar import tracking
from cifar.runtime.paths import ROOT
from cifar.search import storage
from cifar.sweep.studies import Study, default_url
from helpers.processes import clean_environment, run_python, slowdown, wait_for
from helpers.runs import TINY, sqlite
from helpers.searches import SPACE, draw_trials, search_options


@pytest.mark.slow
def test_two_sweeps_share_a_study_and_one_is_killed(postgresql, tmp_path):
    command = (ROOT / "run.py", "--multirun", "hydra/sweeper=optuna", *TINY, "data.limit=null", "epochs=12",
               "optimizer.lr=tag(log, interval(1e-3, 1e-1))", "hydra.sweeper.study_name=shared",
               "hydra.sweeper.n_trials=6", f"hydra.sweeper.storage={postgresql.url}", "hydra/sweeper/pruner=median",
               "hydra.sweeper.pruner.n_startup_trials=3", f"tracking.uri={sqlite(tmp_path)}")  # fmt: skip

    def begin(name: str) -> subprocess.Popen:
        with (tmp_path / name).open("w") as console:
            return subprocess.Popen([sys.executable, *map(str, command)], cwd=tmp_path, env=clean_environment(),
                                    stdout=console, stderr=console)  # fmt: skip

    killed, other = begin("killed"), begin("other")
    wait_for(lambda: (tmp_path / "killed").read_text().count("\njob ") == 2, 120 * slowdown())
    begun = (tmp_path / "killed").read_text().splitlines()[-1].partition(": ")[2]
    client = mlflow.MlflowClient(sqlite(tmp_path))
    wait_for(lambda: epochs_of(client, begun) > 2, 120 * slowdown())
    killed.kill()
    assert other.wait(timeout=300) == 0, (tmp_path / "other").read_text()
    again = run_python(*command, cwd=tmp_path)
    assert (again.code, again.stdout.count("\njob ")) == (0, 0), again

    study = optuna.load_study(study_name="shared", storage=storage.open_storage(postgresql.url))
    ended = {trial.user_attrs["job"]: trial for trial in study.trials if trial.state.name != "FAIL"}
    assert sorted(ended) == [0, 1, 2, 3, 4, 5]
    assert {trial.state.name for trial in ended.values()} <= {"COMPLETE", "PRUNED"}
    assert [trial.user_attrs["job"] for trial in study.trials if trial.state.name == "FAIL"] == [int(begun.split()[1])]

    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    children = {run.info.run_name: run for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert (len(runs), len(children)) == (7, 6)
    for run in children.values():
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "val/loss")]
        trial = ended[int(run.info.run_name.split()[1])]
        assert steps == list(range(1, len(steps) + 1)) == sorted(trial.intermediate_values)
        assert run.info.status == {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}[trial.state.name]
    assert children[begun].data.tags.get("failure", "pruned").startswith("pruned")

    told = [again.stdout, again.stderr, *(path.read_text() for path in (tmp_path / "killed", tmp_path / "other"))]
    stored = [path.read_bytes().decode(errors="ignore") for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in (*told, *stored) if postgresql.password in text]


def epochs_of(client: mlflow.MlflowClient, name: str) -> int:
    known = client.get_experiment_by_name("digits")
    runs = client.search_runs([known.experiment_id]) if known else []
    run = next((run for run in runs if run.info.run_name == name), None)
    return len(client.get_metric_history(run.info.run_id, "val/loss")) if run else 0


@pytest.mark.slow
def test_study_is_beside_the_runs_of_mlflow_in_one_database(postgresql):
    tracking.connect(postgresql.url)
    for _ in range(2):
        study = Study(default_url(postgresql.url), search_options(), SPACE, ["val/loss"], epochs=9)
        study.open("study", "key")
        draw_trials(study, 2)
    assert mlflow.MlflowClient(postgresql.url).search_experiments()
    known = optuna.load_study(study_name="study", storage=storage.open_storage(default_url(postgresql.url)))
    assert [trial.state.name for trial in known.trials] == ["COMPLETE"] * 4

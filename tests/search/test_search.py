"""`hydra/sweeper=optuna`: what is searched, how trials are drawn, shared, taken up again and ended early."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import mlflow
import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar.config.registry import CALLBACKS, SAMPLERS
from cifar.runtime.errors import ExitCodes, InputError, Pruned
from cifar.runtime.lazy import keras
from cifar.runtime.paths import ROOT
from cifar.search import storage
from cifar.search.trial import TRIAL, variables
from cifar.sweep import space
from cifar.sweep.studies import JOB, OUTCOME, PROCESS
from helpers.processes import Completed, run_warm
from helpers.runs import TINY, sqlite
from helpers.searches import SPACE, draw_trials, open_study, outcome_of, search_options
from hydra_plugins.optuna_sweeper import _dimension, _encoded

SEARCH = ("--multirun", "hydra/sweeper=optuna")
LR = "optimizer.lr=tag(log, interval(1e-3, 1e-1))"
FINITE = {name: dimension for name, dimension in SPACE.items() if dimension.values is not None}


MISTAKES = [
    ("", "hydra/sweeper=optuna: nothing to search"),
    ("hydra/sweeper/sampler=tpee", "hydra/sweeper/sampler=tpee: unknown choice; did you mean 'tpe'? known: "),
    ("hydra.sweeper.n_trial=3", "hydra.sweeper.n_trial=3: unknown setting; did you mean 'n_trials'? known: "),
    (f"hydra.sweeper.n_trials=0 {LR}", "hydra.sweeper.n_trials=0: should be greater than 0"),
    (f"hydra.sweeper.sampler=random {LR}", "hydra.sweeper.sampler=random: should be chosen as a group"),
    (f"hydra.sweeper.sampler.sed=1 {LR}", "hydra.sweeper.sampler.sed=1: unknown setting; did you mean 'seed'?"),
    (f"hydra.sweeper.sampler.seed=-1 {LR}", "hydra.sweeper.sampler.seed=-1: should be greater than or equal to 0"),
    (f"hydra/sweeper/pruner=meidan {LR}", "hydra/sweeper/pruner=meidan: unknown choice; did you mean 'median'?"),
    ("optimizer.lrr=interval(0.1,0.2)", "optimizer.lrr=0.1: unknown setting; did you mean 'lr'? known: "),
    ("optimizer.lr=interval(-1,0.2)", "optimizer.lr=-1.0: should be greater than 0"),
    ("model.classifier.dropout=interval(0.1,1)", "model.classifier.dropout=1.0: should be less than 1"),
    ("optimizer.lr=interval(0.2,0.1)", "optimizer.lr=interval(0.2,0.1): from 0.2 to 0.1: should be finite and rise"),
    ("optimizer.lr=interval(0.1,inf)", "optimizer.lr=interval(0.1,inf): from 0.1 to inf: should be finite and rise"),
    ("optimizer.lr=intervall(0.1,0.2)", "optimizer.lr=intervall(0.1,0.2): unknown function; did you mean 'interval'?"),
    ("optimizer.lr=tag(lg,interval(0.1,0.2))", "optimizer.lr=tag(lg,interval(0.1,0.2)): unknown tag lg; known: log"),
    ("optimizer=tag(log,choice(adam,sgd))", "optimizer=tag(log,choice(adam,sgd)): log is for numbers"),
    ("model.classifier.dropout=tag(log,interval(0,0.5))",
     "model.classifier.dropout=tag(log,interval(0,0.5)): from 0.0: should be"),
    ("epochs=tag(log,range(1,9,2))", "epochs=tag(log,range(1,9,2)): should be an interval, or whole numbers in steps"),
    ("epochs=range(3,3)", "epochs=range(3,3): nothing to choose from"),
    ("epochs=range(1,3,0)", "epochs=range(1,3,0): nothing to choose from"),
    ("optimizer=adam,sgdd", "optimizer=sgdd: unknown choice; did you mean 'sgd'? known: "),
    ("optimizer=glob(x*)", "optimizer=glob(x*): nothing to choose from"),
    (f"objective=test/accuracy {LR}", "objective=test/accuracy: the test images judge the chosen run"),
    ("objective=val/loss,val/accuracy", "objective: should be the same in all jobs of a sweep"),
    (f"objective=[val/loss,model/flops] hydra/sweeper/pruner=median {LR}",
     "hydra/sweeper/pruner=median: prunes by one validation metric, not by val/loss, model/flops"),
    (f"objective=[val/loss,model/flops] hydra/sweeper/sampler=cmaes {LR}", "hydra/sweeper/sampler=cmaes: searches "),
    ("optimizer=adam,sgd hydra/sweeper/sampler=cmaes", "hydra/sweeper/sampler=cmaes: searches numbers, by one "),
    (f"hydra/sweeper/sampler=grid {LR}", "hydra/sweeper/sampler=grid: optimizer.lr has no end of values"),
    (f"hydra/launcher=basic {LR}", "hydra/launcher=basic: should be process, ray or submitit"),
    (f"hydra.sweeper.storage=optuna.db {LR}", "hydra.sweeper.storage=optuna.db: should be sqlite:///FILE or post"),
    (f"hydra.sweeper.storage=postgresql://me:secret@127.0.0.1:1/studies {LR}",
     "hydra.sweeper.storage=postgresql://me:***@127.0.0.1:1/studies: cannot be opened: "),
    (f"hydra.launcher.n_jobs=0 {LR}", "hydra.launcher.n_jobs=0: should be greater than 0"),
    ("sweep=lrr", "sweep=lrr: unknown choice; did you mean 'lr'? known: "),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "line"), MISTAKES, ids=[arguments for arguments, _ in MISTAKES])
def test_mistake_is_told_in_one_line(mistake, tmp_path, arguments, line):
    given = [part.replace(";", " ") for part in arguments.replace(", ", ",;").split(" ") if part]
    told = mistake(*SEARCH, *given, "data=digits", f"tracking.uri={sqlite(tmp_path)}")
    assert told.startswith(line)
    assert "secret" not in told


def test_study_in_the_database_of_mlflow_is_refused(in_process, tmp_path):
    mlflow.MlflowClient(sqlite(tmp_path)).search_experiments()
    done = in_process(*SEARCH, LR, f"hydra.sweeper.storage={sqlite(tmp_path)}", "data=digits")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.endswith("mlflow.db: is MLflow's; a study needs a database of its own\n")


SPACES = [path.stem for path in (ROOT / "conf" / "sweep").glob("*.yaml") if "MULTIRUN" in path.read_text()]


@pytest.mark.parametrize("name", SPACES)
def test_ready_made_space_is_accepted(in_process, tmp_path, monkeypatch, name):
    begun = []

    def begin(source, *rest):
        begun.append(source)
        raise SystemExit(0)

    monkeypatch.setattr("cifar.sweep.engine.run", begin)
    done = in_process(f"sweep={name}", "data=digits", f"tracking.uri={sqlite(tmp_path)}")
    assert (done.code, done.stderr) == (0, "")
    assert begun[0].total > 1


class TestSpace:
    """From Hydra's grammar to what is drawn, and back to Hydra's grammar."""

    @pytest.mark.parametrize(
        ("override", "dimension"),
        [
            ("x=interval(1, 2)", space.Interval(1.0, 2.0, log=False)),
            ("x=int(interval(1, 8))", space.Interval(1, 8, log=False)),
            ("x=tag(log, interval(1e-4, 1e-1))", space.Interval(1e-4, 1e-1, log=True)),
            ("x=tag(log, int(interval(1, 64)))", space.Interval(1, 64, log=True)),
            ("x=range(1, 4)", space.Steps([1, 2, 3], log=False)),
            ("x=range(0.1, 0.4, 0.1)", space.Steps([0.1, 0.2, 0.3], log=False)),
            ("x=range(9, 0, -3)", space.Steps([3, 6, 9], log=False)),
            ("x=choice(1, 'a b', [1, c])", space.Choice(["1", r"a\ b", "[1,c]"])),
            ("x=shuffle(choice(c, b, a))", space.Choice(["c", "b", "a"])),
            ("x=a,b,a", space.Choice(["a", "b"])),
        ],
    )
    def test_is_read_from_the_grammar(self, override, dimension):
        assert _dimension(OverridesParser.create().parse_override(override)) == dimension

    @given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-9, 9).filter(bool))
    def test_whole_range_is_pythons(self, start, stop, step):
        assert space.steps(start, stop, step, log=False).values == sorted(range(start, stop, step))

    @given(st.integers(-50, 50), st.integers(1, 40), st.integers(1, 3))
    def test_decimal_range_excludes_its_end(self, start, count, digits):
        step = 10**-digits
        values = space.steps(start * step, (start + count) * step, step, log=False).values
        assert values == [round((start + number) * step, digits) for number in range(count)]

    @settings(deadline=None)
    @given(st.sampled_from(sorted(SPACE)), st.integers(0, 2**31 - 1))
    def test_what_is_drawn_comes_back_from_the_grammar(self, name, seed):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
        value = SPACE[name].exact(study.ask({name: SPACE[name].distribution()}).params[name])
        read = OverridesParser.create().parse_override(f"x={_encoded(value)}").value()
        assert (type(read), read) == (type(value), value)
        if SPACE[name].values is not None:
            assert value in SPACE[name].values


class TestSamplers:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", SAMPLERS.names())
    def test_go_on_as_if_never_stopped(self, tmp_path, name):
        dimensions = FINITE if name == "grid" else SPACE
        chosen = search_options(name)
        (tmp_path / "whole").mkdir()
        whole = draw_trials(open_study(tmp_path / "whole", chosen, dimensions), 8)
        first = draw_trials(open_study(tmp_path, chosen, dimensions), 5)
        assert first + draw_trials(open_study(tmp_path, chosen, dimensions), 3) == whole
        assert len({json.dumps(values) for values in whole}) == 8

    def test_another_seed_draws_otherwise(self, tmp_path):
        (tmp_path / "other").mkdir()
        other = search_options(seed=4)
        assert draw_trials(open_study(tmp_path), 2) != draw_trials(open_study(tmp_path / "other", other), 2)

    def test_grid_is_whole(self, tmp_path):
        dimensions = {"dropout": SPACE["dropout"], "optimizer": SPACE["optimizer"]}
        values = draw_trials(
            open_study(tmp_path, search_options("grid"), dimensions), 10, lambda params: params["dropout"]
        )
        assert sorted((one["dropout"], one["optimizer"]) for one in values) == [
            (dropout, name) for dropout in (0.1, 0.2, 0.3, 0.4, 0.5) for name in ("adam", "sgd")
        ]

    def test_tpe_learns_from_what_it_is_told(self, tmp_path):
        def distance(sampler: str) -> float:
            (tmp_path / sampler).mkdir()
            study = open_study(tmp_path / sampler, search_options(sampler), {"lr": space.Interval(0.0, 1.0, log=False)})
            values = draw_trials(study, 20, lambda params: abs(params["lr"] - 0.7))
            return sum(abs(one["lr"] - 0.7) for one in values[10:]) / 10

        assert distance("tpe") < 0.7 * distance("random")

    def test_two_objectives(self, tmp_path):
        study = open_study(tmp_path, search_options("nsgaii"), objectives=["val/loss", "model/parameters"])
        draw_trials(study, 2)
        (known,) = optuna.get_all_study_summaries(study.url)
        assert [direction.name for direction in known.directions] == ["MINIMIZE", "MINIMIZE"]


TAKE = """
import os, sys
from helpers.searches import open_study
from pathlib import Path
study = open_study(Path(sys.argv[1]))
trial, _ = study.take(total=100)
print(study.trial_id(trial), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def abandoned(tmp_path) -> int:
    """The id of a trial whose sweep was killed."""
    done = run_warm("-c", TAKE, tmp_path, PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}")
    assert done.code == -9, done.stderr
    return int(done.stdout)


@pytest.mark.slow
class TestAbandonedTrial:
    def test_is_taken_up_with_its_values_and_epochs(self, tmp_path, abandoned):
        study = open_study(tmp_path)
        backend = storage.open_storage(study.url)
        backend.set_trial_intermediate_value(abandoned, 1, 0.5)
        trial, _ = study.take(total=1)
        earlier = backend.get_trial(abandoned)
        assert trial.params == earlier.params
        assert (trial.user_attrs[JOB], trial.intermediate_values) == (0, {1: 0.5})
        assert earlier.state.name == "FAIL"

    def test_counts_once(self, tmp_path, abandoned):
        study = open_study(tmp_path)
        trial, _ = study.take(total=1)
        study.tell(trial, outcome_of(trial))
        none, all_of_them = study.take(total=1)
        assert none is None
        assert {number: one.state.name for number, one in all_of_them.items()} == {0: "COMPLETE"}

    def test_of_another_machine_is_taken_up_when_it_shows_no_sign_of_life(self, tmp_path, abandoned):
        study = open_study(tmp_path)
        backend = storage.open_storage(study.url)
        backend.set_trial_user_attr(abandoned, PROCESS, "elsewhere 1 1")
        assert study.take(total=1)[0] is None
        with backend.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-61 seconds')")
        trial, _ = study.take(total=1)
        assert trial.params == backend.get_trial(abandoned).params

    def test_of_a_sweep_that_died_while_taking_it_is_forgotten(self, tmp_path):
        study = open_study(tmp_path)
        optuna.load_study(study_name="study", storage=study.url).ask()
        trial, all_of_them = study.take(total=1)
        assert (trial.user_attrs[JOB], all_of_them) == (0, {})


class TestSharedStudy:
    def test_failed_trial_is_taken_up_by_the_next_sweep_only(self, tmp_path):
        study = open_study(tmp_path)
        failed, _ = study.take(total=2)
        study.tell(failed, outcome_of(failed, "FAILED"))
        other, _ = study.take(total=2)
        assert other.params != failed.params
        study.tell(other, outcome_of(other))
        assert study.take(total=2)[0] is None
        again, _ = open_study(tmp_path).take(total=2)
        assert again.params == failed.params

    def test_values_of_finished_trials_are_those_of_the_best_epoch(self, tmp_path):
        study = open_study(tmp_path, objectives=["val/loss", "model/parameters"])
        trial, _ = study.take(total=1)
        study.tell(trial, outcome_of(trial, loss=0.25))
        known = optuna.load_study(study_name="study", storage=study.url).trials[0]
        assert known.values == [0.25, 7.0]
        assert known.user_attrs[OUTCOME]["metrics"]["best/loss"] == 0.25

    def test_other_search_of_the_same_name_is_refused(self, tmp_path):
        study = open_study(tmp_path)
        with pytest.raises(InputError, match="study_name=study: has been begun with other settings"):
            study.open("study", "another key")

    def test_trial_that_another_has_taken_up_is_told_to_nobody(self, tmp_path, capsys):
        study = open_study(tmp_path)
        trial, _ = study.take(total=1)
        optuna.load_study(study_name="study", storage=study.url).tell(trial.number, 5.0)
        study.tell(trial, outcome_of(trial, loss=1.0))
        assert "another sweep has taken this trial" in capsys.readouterr().err
        assert optuna.load_study(study_name="study", storage=study.url).trials[0].value == 5.0

    def test_run_without_a_result_is_a_failed_trial(self, tmp_path):
        study = open_study(tmp_path)
        trial, _ = study.take(total=1)
        study.tell(trial, outcome_of(trial, loss=float("nan")))
        assert optuna.load_study(study_name="study", storage=study.url).trials[0].state.name == "FAIL"

    def test_trial_that_an_ended_sweep_was_to_queue_again_is_queued(self, tmp_path):
        study = open_study(tmp_path)
        trial, _ = study.take(total=1)
        optuna.load_study(study_name="study", storage=study.url).tell(trial.number, state=optuna.trial.TrialState.FAIL)
        again, _ = study.take(total=1)
        assert again.params == trial.params


def test_pruned_run_has_an_exit_code_of_its_own(capsys):
    with pytest.raises(SystemExit) as end, ExitCodes():
        raise Pruned(4)
    assert (end.value.code, capsys.readouterr().err) == (3, "pruned in epoch 4\n")


class TestPruneCallback:
    @pytest.fixture
    def fit(self, tmp_path, monkeypatch):
        """fit(losses, first=0): epochs with these losses, from `first` on, of a trial of a study with a better one."""
        study = open_study(tmp_path, search_options(pruner="median"))
        other, _ = study.take(total=2)
        backend = storage.open_storage(study.url)
        for epoch in range(1, 10):
            backend.set_trial_intermediate_value(study.trial_id(other), epoch, 0.5)
        study.tell(other, outcome_of(other, loss=0.5))
        trial, _ = study.take(total=2)
        told = variables(
            study.url, "study", study.trial_id(trial), search_options(pruner="median").pruner.model_dump(), epochs=9
        )
        monkeypatch.setenv(TRIAL, told[TRIAL])

        def fit(losses: list[float], first: int = 0) -> dict[int, float]:
            callback = CALLBACKS.build({"name": "prune", "monitor": "val/loss"})
            for epoch, loss in enumerate(losses, start=first):
                callback.on_epoch_begin(epoch, {})
                callback.on_epoch_end(epoch, {"val_loss": loss})
            return backend.get_trial(study.trial_id(trial)).intermediate_values

        return fit

    def test_reports_each_epoch(self, fit):
        assert fit([0.4, 0.3]) == {1: 0.4, 2: 0.3}

    def test_ends_the_run_that_falls_behind(self, fit):
        with pytest.raises(Pruned, match="pruned in epoch 1"):
            fit([0.6, 0.1])

    def test_resumed_run_reports_no_epoch_twice(self, fit):
        fit([0.4, 0.3])
        assert fit([0.35, 0.2], first=1) == {1: 0.4, 2: 0.3, 3: 0.2}

    def test_does_nothing_outside_a_sweep(self):
        callback = CALLBACKS.build({"name": "prune", "monitor": "val/loss"})
        assert type(callback) is keras.callbacks.Callback


PRUNED = (*SEARCH, *TINY, "epochs=3", "hydra/sweeper/sampler=grid", "optimizer.lr=1e-9,0.03",
          "hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=1")  # fmt: skip


@dataclass(frozen=True)
class Sweep:
    processes: list[Completed]
    parent: mlflow.entities.Run
    children: list[mlflow.entities.Run]
    study: optuna.Study
    pictures: set[str]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Sweep:
    """A search that is ended after its first trial and begun again, and again when it is done."""
    folder = tmp_path_factory.mktemp("search")
    command = (ROOT / "run.py", *PRUNED, f"tracking.uri={sqlite(folder)}")
    processes = [run_warm(*command, more, cwd=folder) for more in ("hydra.sweeper.n_trials=1", "seed=0", "seed=0")]
    client = mlflow.MlflowClient(sqlite(folder))
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id], order_by=["start_time ASC"])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    study = optuna.load_study(study_name=parent.info.run_id, storage=f"sqlite:///{folder / 'optuna.db'}")
    pictures = {Path(file.path).stem for file in client.list_artifacts(parent.info.run_id, "pictures")}
    return Sweep(processes, parent, [run for run in runs if run is not parent], study, pictures)


@pytest.mark.slow
class TestSweep:
    def test_goes_on_up_to_the_number_of_trials(self, sweep):
        assert [(done.code, done.stderr) for done in sweep.processes] == [(0, "")] * 3
        assert [done.stdout.count("\njob ") for done in sweep.processes] == [1, 1, 0]
        names = [run.info.run_name for run in sweep.children]
        assert names == ["trial 0 optimizer.lr=0.03", "trial 1 optimizer.lr=1e-09"]
        assert [trial.state.name for trial in sweep.study.trials] == ["COMPLETE", "PRUNED"]

    def test_value_of_a_trial_is_that_of_its_run(self, sweep):
        metrics = sweep.children[0].data.metrics
        assert sweep.study.trials[0].value == metrics["best/loss"]
        assert sweep.study.trials[0].user_attrs[OUTCOME]["run_id"] == sweep.children[0].info.run_id

    def test_pruned_run_is_no_failure(self, sweep):
        pruned = sweep.children[1]
        assert (pruned.info.status, pruned.data.tags["failure"]) == ("KILLED", "pruned in epoch 1")
        assert sweep.parent.info.status == "FINISHED"
        assert "PRUNED trial 1 optimizer.lr=1e-09: pruned in epoch 1" in sweep.processes[1].stdout
        assert sweep.study.trials[1].intermediate_values == {1: pruned.data.metrics["val/loss"]}

    def test_parent_has_pictures(self, sweep):
        assert sweep.pictures == {"history", "learning_curves"}

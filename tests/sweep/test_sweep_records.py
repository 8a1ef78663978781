"""What sweeps record and find again; their jobs are recorded as finished without being trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from hydra.core.global_hydra import GlobalHydra

from cifar import tracking
from cifar.config.compose import read, resolve
from cifar.config.settings import TrackingSettings, identity
from cifar.runtime.paths import RUN_PROCESS
from cifar.sweep import grid, jobs
from cifar.training.experiment import Experiment
from helpers.processes import Completed
from helpers.runs import composed, record, sqlite
from helpers.sweeps import end_jobs_at_once

TINY = ("data=digits", "data.limit=200", "epochs=1")


@contextmanager
def outside_hydra() -> Iterator[None]:
    """Inside the `with`, settings can be composed though Hydra runs."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().hydra = running


@pytest.fixture
def started(monkeypatch) -> Iterator[list[jobs.Job]]:
    """The jobs that sweeps start in this test, each recorded as FINISHED at once."""
    begun = []

    def report(job: jobs.Job) -> dict[str, str]:
        with outside_hydra():
            own = resolve(composed(*job.overrides)).tracking
            run = record(own.uri, own.name, *job.overrides, parent=own.parent)
        begun.append(job)
        return {"status": "FINISHED", "run": run}

    end_jobs_at_once(monkeypatch, report)
    return begun


@pytest.fixture
def sweep(in_process, tmp_path, started) -> Callable[..., Completed]:
    """sweep(*arguments): `python run.py --multirun ARGUMENTS…`, of which the pictures are left out."""
    return lambda *arguments: in_process("--multirun", *TINY, f"tracking.uri={sqlite(tmp_path)}", *arguments)


@pytest.fixture(autouse=True)
def pictures(monkeypatch):
    monkeypatch.setattr("cifar.sweep.pictures.record", lambda *_: None)


def runs(folder: Path) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(sqlite(folder))
    return client.search_runs([one.experiment_id for one in client.search_experiments()])


@pytest.mark.slow
class TestSameSweepAgain:
    """It is found, and its finished jobs with it, whatever is swept and in whatever order."""

    @pytest.mark.parametrize(
        ("first", "again"),
        [
            (("tracking.experiment=b,a", "seed=1"), ("tracking.experiment=a,b", "seed=1")),
            (("tracking.experiment='a, b',c",), ("tracking.experiment=c,'a, b'",)),
            (("tracking.experiment='${data.name}',c",), ("tracking.experiment=c,'${data.name}'",)),
            (("+data.builder=digits", "data.name=one,two"), ("+data.builder=digits", "data.name=two,one")),
            (("epochs=1,2",), ("epochs=2,1",)),
            (("model.filters=[8],[8,16]",), ("model.filters=[8,16],[8]",)),
        ],
        ids=str,
    )
    def test_runs_nothing(self, sweep, started, tmp_path, first, again):
        assert sweep(*first).code == 0
        assert len(started) == 2
        done = sweep(*again)
        assert (done.code, done.stderr) == (0, "")
        assert len(started) == 2, "a finished job has been run again"
        assert Counter("mlflow.parentRunId" in run.data.tags for run in runs(tmp_path)) == {True: 2, False: 1}

    def test_finds_jobs_that_were_named_otherwise(self, sweep, started, tmp_path):
        assert sweep("epochs=1,2").code == 0
        client = mlflow.MlflowClient(sqlite(tmp_path))
        for run in runs(tmp_path):
            client.update_run(run.info.run_id, name=f"old {run.info.run_name}")
        assert sweep("epochs=1,2").code == 0
        assert len(started) == 2

    def test_resumes_a_job_under_the_name_that_it_has(self, sweep, started, tmp_path):
        assert sweep("seed=1,2").code == 0
        client = mlflow.MlflowClient(sqlite(tmp_path))
        (killed,) = [run for run in runs(tmp_path) if run.info.run_name == "seed=1"]
        client.update_run(killed.info.run_id, name="'seed'=1", status="KILLED")
        assert sweep("seed=1,2").code == 0
        (job,) = started[2:]
        settings = resolve(composed(*job.overrides))
        assert settings.tracking.name == "'seed'=1"
        found = tracking.newest_unfinished(settings, Experiment.prepare(settings).dataset)
        assert found and found.id == killed.info.run_id


@pytest.mark.slow
class TestEqualJobs:
    """They run once, whatever the text that makes them."""

    @pytest.mark.parametrize(
        ("arguments", "names"),
        [
            (("seed=1,1,2",), ["seed=1", "seed=2"]),
            (("optimizer.lr=1e-3,0.001,10e-4,1e-2",), ["optimizer.lr=0.001", "optimizer.lr=0.01"]),
            (("model.classifier.dropout=0.5,${model.dropout}", "model.dropout=0.5", "seed=1,2"), None),
            (("augmentation=none,[]", "seed=1,2"), None),
        ],
        ids=str,
    )
    def test_run_once(self, sweep, started, tmp_path, arguments, names):
        done = sweep(*arguments)
        assert (done.code, done.stderr) == (0, "")
        assert len(started) == 2
        assert "jobs have the settings of another and are not run again: " in done.stdout
        assert done.stdout.count("FINISHED") == 2 + 2  # as they end, and in the table
        if names:
            assert sorted(job.name for job in started) == names

    def test_in_two_experiments_are_two_runs(self, sweep, started):
        assert sweep("tracking.experiment=a,b").code == 0
        assert [job.name for job in started] == ["tracking.experiment=a", "tracking.experiment=b"]


@pytest.mark.slow
class TestEvaluation:
    """The jobs of a sweep are evaluated on the test images only where the command says so."""

    def test_is_left_out(self, sweep, started, tmp_path):
        assert sweep("seed=1,2").code == 0
        assert not [run for run in runs(tmp_path) if "test/accuracy" in run.data.metrics]
        assert sweep("seed=1,2", "evaluate.test=false").code == 0
        assert len(started) == 2, "it is the default"

    def test_is_asked_for(self, sweep, started, tmp_path):
        done = sweep("seed=1,2", "evaluate.test=true")
        assert len([run for run in runs(tmp_path) if "test/accuracy" in run.data.metrics]) == 2
        assert done.code == 0 and "test/" not in done.stdout
        assert sweep("seed=1,2").code == 0
        assert len(started) == 4, "a sweep with test metrics is another one"

    def test_is_missed_by_nothing_but_the_comparison_of_images(self, sweep, tmp_path, command, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert sweep("optimizer.lr=1e-3,1e-2").code == 0
        (parent,) = [run.info.run_id for run in runs(tmp_path) if "mlflow.parentRunId" not in run.data.tags]
        done = command(sqlite(tmp_path), "compare", "--sweep", parent)
        assert (done.code, done.stderr) == (0, "")
        assert "best/accuracy" in done.stdout and "test/" not in done.stdout
        assert "Not all runs were evaluated on the test images: nothing is tested" in " ".join(done.stdout.split())


@pytest.mark.slow
class TestConfirmation:
    """The best settings are trained anew with fresh seeds and validation images, and evaluated."""

    CONFIRM = ("objective=val/accuracy", "hydra.sweeper.confirm=1", "hydra.sweeper.confirm_seeds=2")

    @pytest.mark.parametrize(
        "searched",
        [
            ("optimizer.lr=1e-3,1e-2", "seed=0,1000"),
            ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "optimizer.lr=interval(1e-3,1e-2)"),
        ],
        ids=["grid", "search"],
    )
    def test_follows_the_sweep(self, sweep, started, tmp_path, searched):
        done = sweep(*searched, *self.CONFIRM)
        assert (done.code, done.stderr) == (0, "")
        jobs, fresh = started[:4], started[4:]
        assert [job.confirms for job in jobs] == [""] * 4
        draws = [part.partition("=")[2] for job in fresh for part in job.overrides
                 if part.startswith(("seed=", "data.val_seed="))]  # fmt: skip
        first = 1001 if "seed=0,1000" in searched else 1000
        assert draws == [str(first), str(first), str(first + 1), str(first + 1)]
        evaluated = {run.info.run_name for run in runs(tmp_path) if "test/accuracy" in run.data.metrics}
        assert evaluated == {f"confirm {job.confirms} seed={first + n}" for n, job in enumerate(fresh)}
        assert "confirmed on fresh seeds and validation images" in done.stdout
        assert done.stdout.count("test/accuracy") == 1, "in the table of the confirmed ones alone"

        assert sweep(*searched, *self.CONFIRM).code == 0
        assert sweep(*searched, self.CONFIRM[0]).code == 0
        assert len(started) == 6, "a finished job has been run again"

    def test_may_be_asked_for_later(self, sweep, started):
        assert sweep("optimizer.lr=1e-3,1e-2", self.CONFIRM[0]).code == 0
        assert sweep("optimizer.lr=1e-3,1e-2", *self.CONFIRM, "evaluate.test=false").code == 0
        assert len(started) == 4
        assert not [part for job in started for part in job.overrides if part == "evaluate.test=true"]

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (("objective=[val/loss,model/flops]",), "hydra.sweeper.confirm=2: confirms by one validation metric, not "),
            (("hydra.sweeper.max_batch_size=1",), "hydra.sweeper.confirm=2: confirms the best of all jobs, and cannot"),
            (("hydra.sweeper.confirm_seeds=0",), "hydra.sweeper.confirm_seeds=0: should be greater than 0"),
            (("hydra.sweeper.confirms=1",), "hydra.sweeper.confirms=1: unknown setting; did you mean 'confirm'?"),
        ],
    )
    def test_mistake_is_one_line(self, mistake, arguments, line):
        assert mistake("--multirun", *TINY, "seed=1,2", "hydra.sweeper.confirm=2", *arguments).startswith(line)


def test_names_are_what_was_typed(sweep, started, tmp_path):
    assert sweep("tracking.experiment='a, b','it''s = (1)','${data.name}'".replace("it''s", "it is")).code == 0
    assert [job.name for job in started] == [
        "tracking.experiment=a, b", "tracking.experiment=it is = (1)", "tracking.experiment=digits"
    ]  # fmt: skip
    names = {run.info.run_name for run in runs(tmp_path)}
    assert names == {"sweep of tracking.experiment", *(job.name for job in started)}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("objective=val/loss,val/accuracy", "objective: should be the same in all jobs of a sweep"),
        ("tracking.uri=sqlite:///a.db,sqlite:///b.db", "tracking.uri: should be the same in all jobs of a sweep"),
    ],
)
def test_what_a_sweep_has_as_a_whole_is_not_swept(mistake, arguments, line):
    assert mistake("--multirun", *TINY, arguments) == line


@pytest.mark.slow
class TestTroubleAtTheEnd:
    """A sweep whose jobs have finished is FINISHED."""

    @pytest.mark.parametrize(
        ("place", "what"),
        [
            ("cifar.sweep.pictures.record", "the pictures"),
            ("cifar.sweep.results.report", "the printed table"),
            ("cifar.sweep.results.group_rows", "the table over the seeds"),
        ],
    )
    def test_is_a_warning_and_a_tag(self, sweep, started, tmp_path, monkeypatch, place, what):
        def fail(*_):
            raise UnicodeEncodeError("ascii", "±", 0, 1, "ordinal not in range(128)\nsecond line")

        monkeypatch.setattr(place, fail)
        done = sweep("seed=1,2")
        (parent,) = [run for run in runs(tmp_path) if "mlflow.parentRunId" not in run.data.tags]
        assert (done.code, parent.info.status) == (0, "FINISHED")
        assert done.stderr.startswith(f"warning: sweep {parent.info.run_id} lacks {what}: UnicodeEncodeError: ")
        assert done.stderr.count("\n") == 1
        assert parent.data.tags["lacks"].startswith(f"{what}: UnicodeEncodeError: ")

    def test_table_that_the_store_refuses(self, sweep, started, tmp_path, monkeypatch):
        def refuse(self, table, name):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(tracking.SweepRun, "log_table", refuse)
        done = sweep("seed=1")
        assert done.code == 0
        assert "lacks the table of results: OSError: [Errno 28] No space left on device" in done.stderr


def test_keys_are_those_of_earlier_records():
    settings = read((Path(__file__).parent / "recorded_config.yaml").read_text())
    assert identity(settings) == "a71c801b69164e3a7437513c0661fb9af87d281f10522a182e93e3122c8e5fe9"
    found = grid.key([settings, settings.model_copy(update={"seed": 1})])
    assert found == "5a94734fc03a46a353f12dde2acf12c968a036d73caec3f0ca565b9ce0bdb339"


@pytest.mark.parametrize(
    ("resume", "hint"),
    [
        (True, "the same command resumes the sweep"),
        (False, "the same command with hydra.launcher.resume=true resumes the sweep"),
    ],
)
def test_hint_how_an_interrupted_sweep_is_resumed(tmp_path, resume, hint):
    tracking.connect(sqlite(tmp_path))
    settings = TrackingSettings(uri=sqlite(tmp_path), experiment="digits", name="sweep", parent=None)
    with pytest.raises(KeyboardInterrupt) as ended, tracking.sweep(settings, "key", ["digits"], resume):
        raise KeyboardInterrupt
    assert ended.value.__notes__ == [hint]


def test_jobs_compose_from_the_folders_of_the_sweep(monkeypatch):
    monkeypatch.setattr("sys.argv", ["run.py", "--multirun", "-cd", "mine", "--config-name=own", "seed=1,2",
                                     "hydra.searchpath=[file:///more]", "hydra.launcher.n_jobs=2"])  # fmt: skip
    command = jobs.Process.command.fget(SimpleNamespace(job=jobs.Job("seed=1", ("seed=1",))))
    assert command[len(RUN_PROCESS) :] == [
        "--config-name=own", "--config-dir=mine", "hydra.searchpath=[file:///more]", "seed=1", "hydra.mode=RUN",
    ]  # fmt: skip


def test_a_search_whose_store_is_refused_creates_no_study(mistake, tmp_path):
    (tmp_path / "mlflow.db").write_text("no database")
    line = mistake("--multirun", *TINY, f"tracking.uri={sqlite(tmp_path)}", "hydra/sweeper=optuna",
                   "hydra.sweeper.study_name=mine", "optimizer.lr=interval(1e-4, 1e-2)")  # fmt: skip
    assert line.startswith("tracking.uri=sqlite:")
    assert not (tmp_path / "optuna.db").exists()

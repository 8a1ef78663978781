"""`python run.py --multirun`: a process for each job, one parent run, a table of results."""

from __future__ import annotations

import contextlib
import random
import runpy
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest

from cifar.runtime.paths import ROOT
from helpers.processes import clean_environment, run_and_signal, run_python, run_warm, slowdown
from helpers.runs import TINY, composed, sqlite
from helpers.sweeps import Sweep, recorded_sweep


def swept(folder: Path, *overrides: str) -> Sweep:
    arguments = ("--multirun", *TINY, f"tracking.uri={sqlite(folder)}", *overrides)
    return recorded_sweep(run_warm(ROOT / "run.py", *arguments, cwd=folder), folder)


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory) -> tuple[Sweep, Sweep]:
    """A sweep that ends well and one with a broken job; at once, since most of either is the loading of libraries."""
    good, bad = tmp_path_factory.mktemp("sweep"), tmp_path_factory.mktemp("broken")
    broken = ("optimizer=sgd", "callbacks=[terminate_on_nan]", "optimizer.lr=1e30,0.01")
    with ThreadPoolExecutor() as pool:
        jobs = pool.submit(swept, good, "optimizer.lr=1e-3,1e-2"), pool.submit(swept, bad, *broken)
        return tuple(job.result() for job in jobs)


@pytest.fixture
def sweep(sweeps) -> Sweep:
    return sweeps[0]


@pytest.fixture
def broken(sweeps) -> Sweep:
    return sweeps[1]


@pytest.mark.slow
class TestSweep:
    def test_ends_well(self, sweep):
        assert (sweep.process.code, sweep.process.stderr) == (0, "")
        assert sweep.parent.info.status == "FINISHED"

    def test_has_a_child_for_each_job(self, sweep):
        assert {name: run.info.status for name, run in sweep.children.items()} == {
            "optimizer.lr=0.001": "FINISHED",
            "optimizer.lr=0.01": "FINISHED",
        }
        rates = {name: run.data.params["optimizer.lr"] for name, run in sweep.children.items()}
        assert rates == {"optimizer.lr=0.001": "0.001", "optimizer.lr=0.01": "0.01"}

    def test_table_holds_the_results_of_each_job(self, sweep):
        assert {row["job"] for row in sweep.results} == {"optimizer.lr=0.001", "optimizer.lr=0.01"}
        for row in sweep.results:
            child = sweep.children[row["job"]]
            assert row["job"] == f"optimizer.lr={row['lr']}"
            assert (row["run"], row["status"], row["reason"]) == (child.info.run_id, "FINISHED", "")
            assert float(row["best/accuracy"]) == child.data.metrics["best/accuracy"]
            assert not [name for name in (*row, *child.data.metrics) if name.startswith("test/")]

    def test_ranking_is_printed(self, sweep):
        out = sweep.process.stdout
        assert "job 1/2: optimizer.lr=0.001\n" in out
        assert "job 2/2: optimizer.lr=0.01\n" in out
        best = sorted(sweep.children, key=lambda name: sweep.children[name].data.metrics["best/loss"])
        table, end = out.split("\n\n")[-2:]
        assert [line.split()[0] for line in table.splitlines()] == ["lr", *(name.partition("=")[2] for name in best)]
        first = sweep.children[best[0]]
        assert end.startswith(f"best: {best[0]}, val/loss {first.data.metrics['best/loss']:.4f} in epoch 1\nnext:\n  ")
        assert f"--tracking-uri {sweep.uri} evaluate {first.info.run_id[:8]} " in end
        assert f" compare --sweep {sweep.parent.info.run_id[:8]}  # the jobs\n" in end

    def test_keeps_the_console_of_each_job(self, sweep):
        for child in sweep.children.values():
            console = mlflow.artifacts.load_text(f"{child.info.artifact_uri}/console.log")
            assert "epoch 1/1  train/loss" in console
            assert "test: not evaluated (evaluate.test=false; " in console

    def test_job_is_the_run_that_its_command_alone_makes(self, sweep, tmp_path):
        main = runpy.run_path(str(ROOT / "run.py"))["main"]
        main(composed(*TINY, "optimizer.lr=1e-3", f"tracking.uri={sqlite(tmp_path)}"))
        client = mlflow.MlflowClient(sqlite(tmp_path))
        (alone,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
        job = sweep.children["optimizer.lr=0.001"]
        assert alone.data.tags["weights_sha256"] == job.data.tags["weights_sha256"]
        assert alone.data.metrics["best/loss"] == job.data.metrics["best/loss"]
        assert "test/loss" in alone.data.metrics and "test/loss" not in job.data.metrics


@pytest.mark.slow
class TestBrokenJob:
    def test_does_not_keep_the_others_from_running(self, broken):
        assert {name: run.info.status for name, run in broken.children.items()} == {
            "optimizer.lr=1e+30": "FAILED",
            "optimizer.lr=0.01": "FINISHED",
        }

    def test_makes_the_sweep_fail_with_one_line(self, broken):
        assert broken.process.code == 1
        assert broken.parent.info.status == "FAILED"
        assert broken.process.stderr == "failed: 1 of 2 jobs failed: optimizer.lr=1e+30\n"

    def test_is_in_the_table_with_its_reason(self, broken):
        told = {row["job"]: (row["status"], row["reason"][:12]) for row in broken.results}
        assert told == {"optimizer.lr=1e+30": ("FAILED", "the loss is "), "optimizer.lr=0.01": ("FINISHED", "")}


@pytest.mark.slow
class TestSameCommandAgain:
    def test_goes_on_with_what_is_not_finished(self, broken, tmp_path_factory):
        folder = Path(broken.uri.removeprefix("sqlite:///")).parent
        again = swept(folder, "optimizer=sgd", "callbacks=[terminate_on_nan]", "optimizer.lr=0.01,1e30")
        assert again.parent.info.run_id == broken.parent.info.run_id
        ids = [{name: child.info.run_id for name, child in sweep.children.items()} for sweep in (broken, again)]
        assert ids[0] == ids[1]
        assert again.process.stdout.count("\njob ") == 1  # the job that has failed
        assert again.process.code == 1

    def test_of_a_finished_sweep_runs_nothing(self, sweep):
        folder = Path(sweep.uri.removeprefix("sqlite:///")).parent
        again = swept(folder, "optimizer.lr=1e-3,1e-2")
        assert (again.process.code, again.parent.info.run_id) == (0, sweep.parent.info.run_id)
        assert "job 1/2" not in again.process.stdout
        assert len(again.results) == 2


@pytest.mark.slow
def test_two_terminals_share_the_jobs(tmp_path):
    overrides = ("--multirun", *TINY, "seed=1,2,3", f"tracking.uri={sqlite(tmp_path)}")
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: run_warm(ROOT / "run.py", *overrides, cwd=tmp_path), range(2)))
    assert [done.code for done in both] == [0, 0], both
    sweep = recorded_sweep(both[0], tmp_path)
    assert {name: run.info.status for name, run in sweep.children.items()} == dict.fromkeys(
        ("seed=1", "seed=2", "seed=3"), "FINISHED"
    )
    begun = [line for done in both for line in done.stdout.splitlines() if line.startswith("job ") and "/3: " in line]
    assert sorted(line.partition(": ")[2] for line in begun) == ["seed=1", "seed=2", "seed=3"]
    assert all(len(sweep.results) == 3 for _ in both)


@pytest.mark.slow
def test_signal_ends_the_job_and_the_sweep(tmp_path):
    arguments = ("--multirun", *TINY, "epochs=1000", "seed=1,2", "callbacks=none", f"tracking.uri={sqlite(tmp_path)}")
    seconds, done = run_and_signal(signal.SIGTERM, *arguments, cwd=tmp_path)
    assert seconds < 10 * slowdown()
    sweep = recorded_sweep(done, tmp_path)
    assert sweep.process.code == 143
    assert sweep.parent.info.status == "KILLED"
    assert {name: run.info.status for name, run in sweep.children.items()} == {"seed=1": "KILLED"}


SABOTAGE = """
import os, signal, sys
HOW = {
    "seed=2": lambda: os._exit(3),
    "seed=3": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "seed=4": lambda: [].pop(),
    "seed=6": lambda: os.kill(os.getpid(), signal.SIGTERM),
}
def hook(event, arguments):
    if event == "open" and ".cifar-partial" in str(arguments[0]) and str(arguments[0]).endswith(".npz"):
        for word in HOW.keys() & {*sys.orig_argv}:
            HOW.pop(word)()
sys.addaudithook(hook)
"""
"""A `sitecustomize` that makes some jobs end badly when they save their first state."""


@pytest.mark.slow
def test_jobs_that_end_badly_leave_the_others_alone_and_are_healed_by_the_same_command(tmp_path):
    sabotage = tmp_path / "sabotage"
    sabotage.mkdir()
    (sabotage / "sitecustomize.py").write_text(SABOTAGE)
    command = (
        ROOT / "run.py", "--multirun", *TINY, "seed=1,2,3,4,5,6", "callbacks=none", "hydra.launcher.n_jobs=2",
        f"tracking.uri={sqlite(tmp_path)}",
    )  # fmt: skip
    sweep = recorded_sweep(run_python(*command, cwd=tmp_path, PYTHONPATH=str(sabotage)), tmp_path)
    assert sweep.process.code == 1
    assert {row["job"]: (row["status"], row["reason"]) for row in sweep.results} == {
        "seed=1": ("FINISHED", ""),
        "seed=2": ("FAILED", "exit code 3"),
        "seed=3": ("FAILED", "killed by SIGKILL: by hand, or out of memory"),
        "seed=4": ("FAILED", "IndexError: pop from empty list"),
        "seed=5": ("FINISHED", ""),
        "seed=6": ("KILLED", "interrupted by SIGTERM"),
    }
    assert sweep.process.stderr.endswith("failed: 4 of 6 jobs failed: seed=2; seed=3; seed=4; seed=6\n")
    for row in sweep.results:
        child = sweep.children[row["job"]]
        assert (child.info.status, child.data.tags.get("failure", "")) == (row["status"], row["reason"])

    healed = recorded_sweep(run_warm(*command, cwd=tmp_path), tmp_path)
    assert (healed.process.code, healed.parent.info.run_id) == (0, sweep.parent.info.run_id)
    assert {run.info.status for run in healed.children.values()} == {"FINISHED"}
    assert not [run for run in healed.children.values() if "failure" in run.data.tags]
    assert {name: run.info.run_id for name, run in healed.children.items()} == {
        name: run.info.run_id for name, run in sweep.children.items()
    }


@pytest.mark.slow
def test_job_that_takes_too_long_is_failed(tmp_path):
    minutes = round(0.5 * slowdown(), 1)
    sweep = swept(tmp_path, "epochs=100000", "callbacks=none", f"hydra.launcher.timeout={minutes}", "seed=1")
    assert sweep.process.code == 1
    reason = f"timed out after {minutes:g} minutes"
    assert [(row["status"], row["reason"]) for row in sweep.results] == [("FAILED", reason)]
    (job,) = sweep.children.values()
    assert (job.info.status, job.data.tags["failure"]) == ("FAILED", reason)


@pytest.mark.slow
def test_sigkill_of_the_sweep_loses_nothing(tmp_path):
    """Killed at ten moments, the same command each time; compared with a sweep that nobody disturbs.

    Its jobs load their libraries themselves, those of the other are forks: the bits are the same.
    """
    grid = ("epochs=4", "seed=1,2,3", "hydra.launcher.n_jobs=2")
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    calm.mkdir()
    rough.mkdir()

    def swept_cold(folder: Path, *overrides: str) -> Sweep:
        arguments = ("--multirun", *TINY, f"tracking.uri={sqlite(folder)}", *grid, *overrides)
        return recorded_sweep(run_python(ROOT / "run.py", *arguments, cwd=folder), folder)

    undisturbed = swept_cold(calm, "hydra.launcher.warm=false")
    moments = random.Random(0)
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, ROOT / "run.py", "--multirun", *TINY, f"tracking.uri={sqlite(rough)}", *grid],
            cwd=rough, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(2, 20))
        process.kill()
        process.wait()
    sweep = swept_cold(rough)
    assert sweep.process.code == 0, sweep.process
    assert {name: run.info.status for name, run in sweep.children.items()} == dict.fromkeys(
        undisturbed.children, "FINISHED"
    )
    assert weights(sweep) == weights(undisturbed)


@pytest.mark.slow
def test_fork_starts_again_for_a_backend_that_a_configuration_asks_for(tmp_path):
    choices = tmp_path / "conf/experiment"
    choices.mkdir(parents=True)
    for backend in ("tensorflow", "jax"):
        (choices / f"on_{backend}.yaml").write_text(f"# @package _global_\nbackend: {backend}\n")
    sweep = recorded_sweep(
        run_python(
            ROOT / "run.py", f"--config-dir={tmp_path / 'conf'}", "--multirun", "experiment=on_tensorflow,on_jax",
            *TINY, f"tracking.uri={sqlite(tmp_path)}", cwd=tmp_path,
        ),
        tmp_path,
    )  # fmt: skip
    assert sweep.process.code == 0, sweep.process
    recorded = {name: (run.info.status, run.data.params["backend"]) for name, run in sweep.children.items()}
    assert recorded == {f"experiment=on_{backend}": ("FINISHED", backend) for backend in ("tensorflow", "jax")}


def weights(sweep: Sweep) -> dict[str, str]:
    return {name: run.data.tags["weights_sha256"] for name, run in sweep.children.items()}


@pytest.mark.slow
@pytest.mark.parametrize("value", ["1,-1", "1e-3,1e-2"])
def test_a_sweep_touches_no_folder_that_hydra_is_given(tmp_path, value):
    kept, own = tmp_path / "kept", tmp_path / "kept" / "thesis.txt"
    kept.mkdir()
    own.write_text("years of work")
    before = sorted(kept.rglob("*"))
    overrides = (*TINY, f"optimizer.lr={value}", f"tracking.uri={sqlite(tmp_path)}", f"hydra.sweep.dir={kept}")
    done = run_warm(ROOT / "run.py", "--multirun", *overrides, cwd=tmp_path)
    assert done.code == (2 if "-1" in value else 0), done.stderr
    assert sorted(kept.rglob("*")) == before
    assert own.read_text() == "years of work"


def test_hydras_own_sweeper_is_refused_before_it_writes(tmp_path):
    overrides = (*TINY, "optimizer.lr=1e-3,1e-2", "hydra/sweeper=basic", "hydra.sweep.dir=folder")
    done = run_warm(ROOT / "run.py", "--multirun", *overrides, cwd=tmp_path)
    assert done.code == 2
    assert done.stderr.startswith("error: hydra/sweeper=basic: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())

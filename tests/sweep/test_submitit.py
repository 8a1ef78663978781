"""`hydra/launcher=submitit`: jobs that are sent elsewhere, outlive their sweep, and are found again by the next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cifar.runtime import job_report
from cifar.runtime.paths import ROOT
from cifar.sweep.jobs import Job, Outcome, Process
from cifar.sweep.launchers.submitit import SubmititJob, Submitted
from helpers.processes import Completed, clean_environment, run_warm, wait_for
from helpers.runs import TINY, sqlite
from helpers.sweeps import recorded_sweep

OPTIONS = {"n_jobs": 1, "timeout": 60, "fail_fast": False, "resume": True, "cluster": "local"} | dict.fromkeys(
    ("gpus_per_node", "cpus_per_task", "mem_gb", "partition", "account", "qos", "constraint", "setup",
     "additional_parameters")
)  # fmt: skip


@pytest.fixture
def send(tmp_path, monkeypatch):
    """send(script, **options): a job that is `python -c SCRIPT` instead of a training."""

    def send(script: str, **options) -> SubmititJob:
        monkeypatch.setattr(Process, "command", [sys.executable, "-c", script])
        return SubmititJob(Job("seed=1", ("seed=1",)), tmp_path / "job", Submitted(**OPTIONS | options))

    return send


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """A folder on the PATH whose commands behave as SLURM's, with one job; `state` is what they tell of it."""
    scripts = {
        "sbatch": f'[ "$1" = --version ] && exit\ncp "$1" {tmp_path}/batch\n'
                  f"setsid {tmp_path}/bin/start > /dev/null 2>&1 &\necho Submitted batch job 7",
        "start": f"SLURM_JOB_ID=7 sh {tmp_path}/batch\ngrep -q RUNNING {tmp_path}/state && "
                 f"echo COMPLETED > {tmp_path}/state\ntouch {tmp_path}/ended",
        "srun": 'shift 5\nexec "$@"',
        "sacct": f'echo "JobID|State|NodeList"\necho "7|$(cat {tmp_path}/state)|node"',
        "squeue": f'[ "$1" = --version ] || grep "PENDING\\|RUNNING" {tmp_path}/state || '
                  '{ echo slurm_load_jobs error: Invalid job id specified >&2; exit 1; }',
        "scancel": f'echo "$@" > {tmp_path}/cancelled',
    }  # fmt: skip
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    (tmp_path / "state").write_text("RUNNING")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def outcome(job: SubmititJob) -> Outcome:
    wait_for(job.is_over)
    return job.outcome()


def test_exit_code_comes_back(send):
    job = send("import sys; sys.exit('error: no such thing')")
    assert (outcome(job).status, outcome(job).reason) == ("FAILED", "exit code 1: error: no such thing")


def test_job_that_still_runs_is_taken_up_and_one_that_has_ended_is_sent_again(send, tmp_path):
    waits = f"import pathlib, time\nwhile not pathlib.Path('{tmp_path}/go').exists(): time.sleep(0.05)"
    first = send(waits)
    note = (tmp_path / "job" / "sent.json").read_text()
    second = send(waits)
    assert (tmp_path / "job" / "sent.json").read_text() == note
    assert not second.is_over()
    (tmp_path / "go").touch()
    wait_for(second.is_over)
    wait_for(first.is_over)
    assert second.reported == {"exit_code": 0, "warned": False}
    third = send("raise SystemExit(3)")
    assert (tmp_path / "job" / "sent.json").read_text() != note
    assert outcome(third).reason == "exit code 3"


def test_told_to_end_it_ends_in_order(send, tmp_path):
    script = f"""
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
pathlib.Path('{tmp_path}/ready').touch()
time.sleep(60)
"""
    job = send(script)
    wait_for((tmp_path / "ready").exists)
    job.end(signal.SIGTERM)
    assert outcome(job).reason == "exit code 143"


class TestSlurm:
    def test_sends_what_is_asked_for(self, slurm, send, tmp_path):
        job = send("raise SystemExit(3)", cluster="slurm", partition="gpu", gpus_per_node=1, mem_gb=2.5, timeout=90)
        assert outcome(job).reason == "exit code 3"
        asked = {line for line in (tmp_path / "batch").read_text().splitlines() if line.startswith("#SBATCH")}
        wanted = ("partition=gpu", "gpus-per-node=1", "mem=2560MB", "time=90", "signal=USR2@30")
        assert {f"#SBATCH --{option}" for option in wanted} <= asked

    def test_job_that_dies_without_a_word_has_the_state_that_slurm_tells(self, slurm, send, tmp_path):
        job = send("import os, signal; os.kill(os.getppid(), signal.SIGKILL)", cluster="slurm")
        (tmp_path / "state").write_text("OUT_OF_MEMORY")
        assert (outcome(job).status, outcome(job).reason) == ("FAILED", "slurm: OUT_OF_MEMORY")

    def test_is_told_which_job_to_cancel(self, slurm, send, tmp_path):
        job = send("import time; time.sleep(1)", cluster="slurm")
        job.end(signal.SIGTERM)
        assert (tmp_path / "cancelled").read_text() == "7\n"
        wait_for(job.is_over)

    def test_job_that_it_starts_again_is_waited_for(self, slurm, send, tmp_path):
        (tmp_path / "fails").touch()
        script = f"""
import pathlib
if pathlib.Path('{tmp_path}/fails').exists():
    pathlib.Path('{tmp_path}/state').write_text('PENDING')
    raise SystemExit(143)
"""
        job = send(script, cluster="slurm")
        wait_for(lambda: job.is_over() or job.reported.get("exit_code"))
        assert job.reported["exit_code"] == 143
        note = (tmp_path / "job" / "sent.json").read_text()
        later = send(script, cluster="slurm")
        assert (tmp_path / "job" / "sent.json").read_text() == note
        assert not job.is_over() and not later.is_over()
        wait_for((tmp_path / "ended").exists)
        (tmp_path / "fails").unlink()
        (tmp_path / "state").write_text("RUNNING")
        subprocess.run([slurm / "start"], check=True)
        for waiting in (job, later):
            wait_for(waiting.is_over)
            assert waiting.reported == {"exit_code": 0, "warned": False}

    def test_that_keeps_no_accounts_is_refused(self, slurm, mistake):
        (slurm / "sacct").write_text("#!/bin/sh\necho Slurm accounting storage is disabled >&2\nexit 1\n")
        assert mistake("--multirun", *TINY, "hydra/launcher=submitit", "seed=1,2") == (
            "hydra/launcher=submitit: `sacct` does not answer (Slurm accounting storage is disabled); without "
            "accounting, a job that is killed would be waited for in vain"
        )

    def test_that_is_not_there_is_refused(self, mistake, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        refusal = mistake("--multirun", *TINY, "hydra/launcher=submitit", "seed=1,2")
        assert refusal.startswith("hydra/launcher=submitit: `sbatch` does not answer (No such file")


def test_warning_of_the_cluster_ends_the_job_in_order(tmp_path):
    job = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print(os.getpid(), flush=True)
time.sleep(60)
"""
    report, console = tmp_path / "report.jsonl", tmp_path / "console.log"
    script = "import sys; from pathlib import Path; from cifar.sweep.launchers.submitit import run; " + (
        f"run([sys.executable, '-c', {job!r}], '.', {{}}, Path({str(console)!r}), False)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, env={**clean_environment(), job_report.REPORT: str(report)}
    )
    wait_for(lambda: console.exists() and console.read_text().endswith("\n"))
    time.sleep(0.5)
    for pid in (int(console.read_text()), process.pid):
        os.kill(pid, signal.SIGUSR2)
    assert process.wait(30) == 0
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert lines == [{"exit_code": None, "warned": False}, {"warned": True}, {"exit_code": 143}]


@pytest.mark.slow
def test_sweep_that_is_killed_is_gone_on_with_while_its_job_runs(tmp_path):
    command = (ROOT / "run.py", "--multirun", *TINY, "epochs=60", "callbacks=none", "hydra/launcher=submitit",
               "hydra.launcher.cluster=local", "hydra.launcher.n_jobs=1", "seed=1,2",
               f"tracking.uri={sqlite(tmp_path)}")  # fmt: skip
    killed = subprocess.Popen(
        [sys.executable, *command], cwd=tmp_path, env=clean_environment(), stdout=subprocess.DEVNULL
    )
    wait_for(lambda: any('"epoch"' in path.read_text() for path in tmp_path.rglob("report.jsonl")))
    killed.kill()
    killed.wait()
    before = recorded_sweep(Completed(-9, "", ""), tmp_path)
    after = recorded_sweep(run_warm(*command, cwd=tmp_path), tmp_path)
    assert after.process.code == 0, after.process
    assert after.parent.info.run_id == before.parent.info.run_id
    assert {name: run.info.status for name, run in after.children.items()} == {
        "seed=1": "FINISHED", "seed=2": "FINISHED"}  # fmt: skip
    first = before.children["seed=1"].data.tags["process"]
    assert after.children["seed=1"].data.tags["process"] == first, "the job has been started again"
    assert {row["job"] for row in after.results} == {"seed=1", "seed=2"}

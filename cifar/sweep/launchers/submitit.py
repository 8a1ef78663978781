"""Jobs that run elsewhere: submitit sends them to SLURM, or to processes of this machine that outlive the sweep."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cifar.config.schema import PositiveFloat, PositiveInt
from cifar.files import atomic
from cifar.runtime import extras, job_report, processes
from cifar.runtime.errors import DEBUG, InputError
from cifar.runtime.lazy import Lazy
from cifar.runtime.paths import PACKAGE
from cifar.sweep.jobs import Job, Options, Process, Slot

if TYPE_CHECKING:
    import submitit
else:
    submitit = Lazy("submitit")

WARNING = signal.SIGUSR2
"""What SLURM sends, as submitit asks it to, some time before the limit of a job, and where it takes a node away."""
DELAY = 30
"""Seconds between that and the end; SLURM may send it a minute earlier."""
PAUSE = 0.2
"""Seconds between two looks at a job, where it runs."""
QUEUE_PAUSE = 2.0
"""Seconds between two looks at SLURM's queue for a job."""
CODE, WARNED = "exit_code", "warned"
"""Reports about a job from the machine that runs it, in addition to its own."""


class Elsewhere(Options):
    """How jobs are run that have no share of this machine."""

    def slots(self) -> list[Slot]:
        return [Slot(number) for number in range(self.n_jobs)]


class Submitted(Elsewhere):
    """How submitit sends jobs: what `conf/hydra/launcher/submitit.yaml` states."""

    cluster: Literal["slurm", "local"]
    timeout: PositiveInt
    gpus_per_node: PositiveInt | None
    cpus_per_task: PositiveInt | None
    mem_gb: PositiveFloat | None
    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    setup: list[str] | None
    additional_parameters: dict[str, Any] | None

    def check(self) -> None:
        extras.require("cluster", "hydra/launcher=submitit", "submitit")
        commands = (["sbatch", "--version"], ["squeue", "--version"], ["sacct", "--starttime=now"])
        for command in commands if self.cluster == "slurm" else ():
            if why := _failure(command):
                raise InputError(
                    f"hydra/launcher=submitit: `{command[0]}` does not answer ({why}); without "
                    "accounting, a job that is killed would be waited for in vain"
                )

    def start(self, job: Job, folder: Path, slot: Slot) -> Process:
        return SubmititJob(job, folder, self)

    def executor(self, folder: Path) -> submitit.Executor:
        """What sends a job, submitit's files in `folder`."""
        given = self.model_dump(exclude={*Options.model_fields, "cluster"}, exclude_none=True)
        shared = {name: given.pop(name) for name in ("gpus_per_node", "cpus_per_task", "mem_gb") if name in given}
        executor = submitit.AutoExecutor(folder, cluster=self.cluster)
        own = {f"slurm_{name}": value for name, value in {"signal_delay_s": DELAY, **given}.items()}
        executor.update_parameters(timeout_min=self.timeout, **shared, **own)
        return executor


class RemoteJob(Process):
    """A job that `run` runs somewhere, which reports its exit code."""

    def _cut_short(self) -> str:
        is_cut = self.reported.get(WARNED) and self._code() != 0
        return "ended by the cluster, as at the end of its time limit" if is_cut else ""

    def _code(self) -> int | None:
        return self.reported.get(CODE)

    def _arguments(self) -> tuple[list[str], str, dict[str, str], Path, bool]:
        """What `run` is given."""
        self.report.unlink(missing_ok=True)
        variables = {**self.job.environment, job_report.REPORT: str(self.report)}
        return self.command, os.getcwd(), variables, self.console, DEBUG


class SubmititJob(RemoteJob):
    """A job that submitit sends, or has sent for a sweep that is gone; what it leaves is in its `folder`."""

    def __init__(self, job: Job, folder: Path, options: Submitted):
        super().__init__(job, folder)
        self._options, self._place, self._note = options, folder / "submitit", folder / "sent.json"
        self._asked = -math.inf
        self._sent, self._process = self._known() or self._send()

    def end(self, signum: int) -> None:
        if self._options.cluster == "slurm":
            self._sent.cancel(check=False)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self._sent.job_id), signal.SIGTERM)

    def _known(self) -> tuple[submitit.Job[None], str] | None:
        """The job that was sent before, where it has not ended."""
        if not self._note.exists():
            return None
        known = json.loads(self._note.read_text())
        kind = submitit.SlurmJob if self._options.cluster == "slurm" else submitit.LocalJob
        job: submitit.Job[None] = kind(self._place, known["job"])
        process = known["process"]
        codes = [line[CODE] for line in job_report.read(self.report, 0)[0] if CODE in line]
        return None if self._is_over(job, process, codes[-1] if codes else None) else (job, process)

    def _send(self) -> tuple[submitit.Job[None], str]:
        given = self._arguments()
        with contextlib.chdir(PACKAGE.parent):  # the job imports this module from there
            sent = self._options.executor(self._place).submit(run, *given)
        process = processes.process(int(sent.job_id)) if self._options.cluster == "local" else ""
        atomic.write(self._note, json.dumps({"job": sent.job_id, "process": process}).encode())
        return sent, process

    def _has_ended(self) -> bool:
        return self._is_over(self._sent, self._process, self._code())

    def _is_over(self, job: submitit.Job[None], process: str, code: int | None) -> bool:
        if self._options.cluster == "local":
            # Of a local job that another process has sent, submitit knows nothing.
            return code is not None or (job.done() and processes.is_gone(process))
        return code == 0 or ((code is not None or job.done()) and not self._is_queued(job.job_id))

    def _is_queued(self, job: str) -> bool:
        """True if SLURM starts a job again that it has ended, as where its node fails or is taken away."""
        if time.monotonic() - self._asked < QUEUE_PAUSE:
            return True
        self._asked = time.monotonic()
        command = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
        try:
            asked = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return True
        return bool(asked.stdout.strip()) if asked.returncode == 0 else "Invalid job id" not in asked.stderr

    def _why(self, code: int | None) -> str:
        return super()._why(code) if code is not None else f"{self._options.cluster}: {self._sent.state}"


def run(
    command: Sequence[str],
    place: str,
    variables: Mapping[str, str],
    console: Path,
    debug: bool,
    minutes: float | None = None,
) -> None:
    """Run `command` in the folder `place` on the cluster, end it after `minutes`, and report its exit code."""
    os.environ.update(variables)
    if not debug:
        os.environ.pop("HYDRA_FULL_ERROR", None)
    job_report.report(**{CODE: None, WARNED: False})  # in place of those of the job before SLURM started it again
    # SLURM signals the job as well. A child process inherits an ignored signal, but not a handler.
    signal.signal(WARNING, signal.SIG_IGN)
    with console.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=place, env={**os.environ, job_report.SWEEP: str(os.getpid())}, stdin=subprocess.DEVNULL,
            stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip

    def end(signum: int = WARNING, _: object = None) -> None:
        if signum == WARNING:
            job_report.report(**{WARNED: True})
        process.terminate()

    signal.signal(WARNING, end)
    if (
        os.environ.get("SUBMITIT_EXECUTOR") == "local"
    ):  # SLURM signals the job itself, and a second signal would abort it
        signal.signal(signal.SIGTERM, end)
    deadline = time.monotonic() + 60 * (minutes or math.inf)
    try:
        while process.poll() is None:  # not `wait`, which would not notice Ray's request to end
            time.sleep(PAUSE)
            if time.monotonic() > deadline:
                deadline = math.inf
                end()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
    job_report.report(**{CODE: process.returncode})


def _failure(command: Sequence[str]) -> str:
    """Why a command fails; empty where it does not."""
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except OSError as error:
        return error.strerror or str(error)
    except subprocess.CalledProcessError as error:
        return str((error.stderr.splitlines() or [f"exit code {error.returncode}"])[0])
    except subprocess.TimeoutExpired:
        return "within a minute"
    return ""

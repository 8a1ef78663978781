"""Trainings that Python code starts: each is a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar.api.overrides import written
from cifar.api.records import Run, load
from cifar.config.command_line import parts, readable
from cifar.runtime import job_report
from cifar.runtime.errors import DEBUG, InputError, TrainingError
from cifar.runtime.paths import RUN, RUN_PROCESS

LAST = re.compile(r"(error|failed|interrupted|pruned)\b")
"""How the line begins in which a training says why it has ended."""
RESUMES = re.compile(rf"; {re.escape(RUN)} resume=.*")
"""The end of that line where the run can be resumed."""


def run(*settings: str, **named: Any) -> Run:
    """Train and evaluate one run, as `python run.py SETTINGS…` does, and return it.

    `settings` are written as on the command line; `named` are settings by their names, those with dots in a mapping:
    `cifar.run("model=cnn3", epochs=5, **{"optimizer.lr": 1e-3})`. The training is a process of its own, so that
    backend, threads and random numbers of this one stay as they are. What it prints is printed here.

    Raises `InputError` for a mistake, `TrainingError` for a training that fails, and `KeyboardInterrupt` once an
    interrupted training has saved its checkpoint; the message says how to resume it.
    """
    overrides = written(settings, named)
    store, folder = _last(overrides, "tracking.uri"), _last(overrides, "extensions")
    ended = _train(overrides)
    ended.check([given for given in (store, folder) if given])
    if ended.run_id is None:
        raise InputError("nothing was recorded, as with dry_run=true; the command line is for this")
    return load(ended.run_id, tracking_uri=_text(store), extensions=_text(folder))


@dataclass(frozen=True)
class Ended:
    """A training that has ended: exit code, the line that says why, true if it was interrupted here, and its run."""

    code: int
    line: str
    was_interrupted: bool
    run_id: str | None

    def check(self, again: Sequence[str]) -> None:
        """Raise the error that the training ended with; a resume needs the settings `again`."""
        message = RESUMES.sub("", self.line.partition(": ")[2] or self.line)
        if RESUMES.search(self.line):
            arguments = ", ".join([*map(repr, again), f"resume={self.run_id!r}"])
            message = f"{message}; cifar.run({arguments}) resumes the run"
        if self.was_interrupted:
            raise KeyboardInterrupt(message or "the training was ended before it saved anything")
        if self.code == 2:
            raise InputError(message)
        if self.code:
            raise TrainingError(message or f"the training ended with exit code {self.code}")


def _last(overrides: Sequence[str], key: str) -> str:
    """The last override of a key; empty without one."""
    found = [override.lstrip("+") for override in overrides if override.lstrip("+").startswith(f"{key}=")]
    return found[-1] if found else ""


def _text(override: str) -> str | None:
    """The value of an override; `None` without one."""
    value = parts(readable([override])[0])[1] if override else "null"
    return None if value == "null" else value


def _train(overrides: Sequence[str]) -> Ended:
    """Train in a child process until it ends.

    An interrupt is passed on once, for the training to save its checkpoint; a second one ends it.
    """
    with tempfile.TemporaryDirectory(prefix="cifar-") as folder:
        report = Path(folder) / "report.jsonl"
        process = subprocess.Popen(
            [*RUN_PROCESS, *overrides],
            env=_environment(report),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C in a terminal would reach it twice, which ends it at once
        )
        try:
            line, was_interrupted = _followed_to_its_end(process)
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        code = process.wait()
        reported = {key: value for entry in job_report.read(report, 0)[0] for key, value in entry.items()}
        return Ended(code, line, was_interrupted, reported.get("run"))


def _environment(report: Path) -> dict[str, str]:
    """The environment of a training, which is not for this process's backend; it reports its run to a file."""
    dropped = {"KERAS_BACKEND", *(() if DEBUG else ("HYDRA_FULL_ERROR",))}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    # With the process id of this one, the training saves its checkpoint and ends if this process is gone.
    own = {job_report.REPORT: str(report), job_report.SWEEP: str(os.getpid())}
    return {**kept, **own, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def _followed_to_its_end(process: subprocess.Popen[str]) -> tuple[str, bool]:
    """The last line of a process, as `_followed` gives it, and true if an interrupt was passed on to it."""
    try:
        return _followed(process), False
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        return _followed(process), True


def _followed(process: subprocess.Popen[str]) -> str:
    """Print what the process prints, and return its last line where that says why it has ended."""
    last = ""
    assert process.stdout
    for line in process.stdout:
        if last:
            print(last, flush=True)
        last = line.rstrip("\n") if LAST.match(line) else ""
        if not last:
            print(line, end="", flush=True)
    return last

"""Trainings that Python code starts: each is a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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
    with tempfile.TemporaryDirectory(prefix="cifar-") as folder:
        report = Path(folder) / "report.jsonl"
        code, line, interrupted = _trained(overrides, report)
        reported = {key: value for entry in job_report.read(report, 0)[0] for key, value in entry.items()}
    store, folder_of_code = (_last(overrides, name) for name in ("tracking.uri", "extensions"))
    message, run_id = RESUMES.sub("", line.partition(": ")[2] or line), reported.get("run")
    if RESUMES.search(line):
        again = [override for override in (store, folder_of_code) if override]
        arguments = ", ".join([*map(repr, again), f"resume={run_id!r}"])
        message = f"{message}; cifar.run({arguments}) resumes the run"
    if interrupted:
        raise KeyboardInterrupt(message or "the training was ended before it saved anything")
    if code == 2:
        raise InputError(message)
    if code:
        raise TrainingError(message or f"the training ended with exit code {code}")
    if run_id is None:
        raise InputError("nothing was recorded, as with dry_run=true; the command line is for this")
    return load(run_id, tracking_uri=_text(store), extensions=_text(folder_of_code))


def _last(overrides: Sequence[str], key: str) -> str:
    """The last override of a key; empty without one."""
    found = [override.lstrip("+") for override in overrides if override.lstrip("+").startswith(f"{key}=")]
    return found[-1] if found else ""


def _text(override: str) -> str | None:
    """The value of an override; `None` without one."""
    value = parts(readable([override])[0])[1] if override else "null"
    return None if value == "null" else value


def _trained(overrides: Sequence[str], report: Path) -> tuple[int, str, bool]:
    """Train in a child process until it ends: its exit code, why it has ended, and true if it was interrupted here.

    An interrupt is passed on once, for the training to save its checkpoint; a second one ends it.
    """
    kept = {
        name: value for name, value in os.environ.items()
        if name != "KERAS_BACKEND" and (name != "HYDRA_FULL_ERROR" or DEBUG)
    }  # fmt: skip
    # With the process id of this one, the training saves its checkpoint and ends if this process is gone.
    own = {job_report.REPORT: str(report), job_report.SWEEP: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*RUN_PROCESS, *overrides],
        env={**kept, **own, "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C in a terminal would reach it twice, which ends it at once
    )
    interrupted = False
    try:
        line = _followed(process)
    except KeyboardInterrupt:
        interrupted = True
        process.send_signal(signal.SIGINT)
        line = _followed(process)
    finally:
        if process.poll() is None and sys.exc_info()[0] is not None:
            process.send_signal(signal.SIGINT)
            process.wait()
    return process.wait(), line, interrupted


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

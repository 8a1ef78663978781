"""Jobs as tasks of Ray: on a cluster that is there, or on one that is started on this machine for the sweep."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cifar.config.schema import PositiveFloat
from cifar.runtime import interrupts, job_report
from cifar.runtime.errors import InputError, first_line
from cifar.runtime.lazy import Lazy
from cifar.sweep.jobs import Job, Process, Slot
from cifar.sweep.launchers.submitit import Elsewhere, RemoteJob, run

ray = Lazy("ray")

NODE = "node"
"""A report of a job: the id of Ray's node that runs it."""
LOOK = 2.0
"""Seconds between two looks for whether the node of a job is alive."""


class OnRay(Elsewhere):
    """How Ray runs jobs: what `conf/hydra/launcher/ray.yaml` states."""

    address: str | None
    num_cpus: PositiveFloat
    num_gpus: Annotated[float, Field(ge=0)]

    def check(self) -> None:
        if find_spec("ray") is None:
            raise InputError("hydra/launcher=ray: Ray is not installed; `pip install ray` does it")

    def start(self, job: Job, folder: Path, slot: Slot) -> Process:
        own = {"include_dashboard": False} if self.address is None else {}
        if self.address is None:
            # Whoever reaches a port of Ray runs what they like, unless they need a token; Ray reads this when imported.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if not ray.is_initialized():
            handlers = {signum: signal.getsignal(signum) for signum in interrupts.SIGNALS}
            try:
                ray.init(self.address or "local", log_to_driver=False, logging_level="ERROR", **own)
            except Exception as error:  # of no narrower kind where its processes do not come up
                raise InputError(f"hydra.launcher.address={self.address}: no Ray there: {first_line(error)}") from None
            for signum, handler in handlers.items():  # Ray has put its own there, which abort
                signal.signal(signum, handler)
        return Task(job, folder, self)


class Task(RemoteJob):
    """A job as a task, which Ray ends with the sweep."""

    def __init__(self, job: Job, folder: Path, options: OnRay):
        super().__init__(job, folder)
        self._looked, self._is_lost = 0.0, False
        # A worker of its own for each, and no second try of Ray's: the next sweep resumes the job.
        resources = {"num_cpus": options.num_cpus, "num_gpus": options.num_gpus}
        task = ray.remote(**resources, max_calls=1, max_retries=0)(run_on_node)
        self._task = task.remote(*self._arguments(), options.timeout)

    def end(self, signum: int) -> None:
        ray.cancel(self._task)

    def _has_ended(self) -> bool:
        self._look_for_node()
        return self._is_lost or self._code() is not None or bool(ray.wait([self._task], timeout=0)[0])

    def _look_for_node(self) -> None:
        """Look if the node is alive: of one that is gone without a word, Ray's tasks hear after minutes."""
        if NODE in self.reported and time.monotonic() - self._looked > LOOK:
            self._looked, node = time.monotonic(), self.reported[NODE]
            self._is_lost = any(known["NodeID"] == node and not known["Alive"] for known in ray.nodes())

    def _why(self, code: int | None) -> str:
        if code is not None:
            return super()._why(code)
        if self._is_lost:
            return "ray: its node has failed"
        try:
            return f"ray: {ray.get(self._task)}"
        except ray.exceptions.RayError as error:
            return f"ray: {first_line(error)}"


def run_on_node(
    command: list[str], place: str, variables: Mapping[str, str], console: Path, debug: bool, minutes: float | None
) -> None:
    """Report the node, and run `command` as `run` does."""
    os.environ.update(variables)
    job_report.report(**{NODE: ray.get_runtime_context().get_node_id()})
    run(command, place, variables, console, debug, minutes)

"""The run of a sweep, and the runs of its jobs."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from cifar.config import renamed
from cifar.config.settings import Settings, TrackingSettings, flatten, identity
from cifar.files import ownership
from cifar.runtime import processes
from cifar.runtime.errors import InputError, TrainingError
from cifar.runtime.terminal import unescaped
from cifar.tracking import addresses, locks, notes, queries, store
from cifar.tracking.names import FAILURE, PROCESS, SWEEP
from cifar.tracking.recorder import recorded_status
from cifar.tracking.run import INTERRUPTIONS, Run
from cifar.tracking.running import recorded
from cifar.tracking.runs import newest_sweep
from cifar.tracking.store import IDENTITY

PLAIN = re.compile(r"[\w .,:;=+*/()\[\]{}-]+")
"""The names of jobs by which a store can be searched; all children are looked through for others."""


@dataclass(frozen=True)
class Child:
    """A job of a sweep, as it is recorded; `status` is also PRUNED, or KILLED where its process is gone."""

    id: str
    name: str
    status: str
    reason: str
    metrics: Mapping[str, float]

    @classmethod
    def of(cls, run: mlflow.entities.Run) -> Child:
        status, reason = run.info.status, run.data.tags.get(FAILURE, "")
        if status == "RUNNING" and processes.is_gone(run.data.tags.get(PROCESS, "")):
            status = "KILLED"
        if status == "KILLED" and reason.startswith("pruned"):
            status = "PRUNED"
        metrics = renamed.metrics(run.data.metrics, run.data.params)
        return cls(run.info.run_id, run.info.run_name, status, reason, metrics)


class SweepRun(Run):
    """The run whose children are the jobs of a sweep.

    Unlike a job, it does not go on elsewhere when the server goes away, but waits for it: no job is begun meanwhile.
    """

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which the jobs record in the same store."""
        return {addresses.VARIABLE: self._uri}

    def child(self, name: str, experiment: str, settings: Settings | None = None) -> Child | None:
        """The newest run of this `name` in this `experiment` whose parent this is.

        Or else the newest that was made of these `settings`, which an earlier version may have named otherwise.
        """

        def search(client: mlflow.MlflowClient) -> list[mlflow.entities.Run]:
            found = client.get_experiment_by_name(experiment)
            if found is None:
                return []
            own = f"tags.mlflow.parentRunId = '{self._id}'"
            named = f"{own} AND attributes.run_name = '{unescaped(name)}'" if PLAIN.fullmatch(name) else own
            runs = _newest(client, found.experiment_id, named)
            known = [run for run in runs if run.info.run_name == unescaped(name)]
            if settings and not known:
                same = _newest(client, found.experiment_id, f"{own} AND tags.{IDENTITY} = '{identity(settings)}'")
                known = [run for run in same if _is_of(run, settings)]
            return known

        known = self._try(search)
        return Child.of(known[0]) if known else None

    def child_history(self, run_id: str, metric: str) -> list[float]:
        """A metric of a child, epoch by epoch."""

        def history(client: mlflow.MlflowClient) -> dict[int, float]:
            return queries.metric_history(client, run_id, client.get_run(run_id).data.params, metric)

        return [value for _, value in sorted(self._try(history).items())]

    def end_child(self, run_id: str, status: str, reason: str, console: Path) -> dict[str, float]:
        """Record how a child has ended, where it has not done so itself, and its console; the metrics of the child."""

        def end(client: mlflow.MlflowClient) -> dict[str, float]:
            try:
                child = client.get_run(run_id)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # it began while the server was away: `sync` sends it
                    return {}
                raise
            if child.info.status != recorded_status(status):
                if reason:
                    client.set_tag(run_id, FAILURE, reason)
                client.set_terminated(run_id, recorded_status(status))
            client.log_artifact(run_id, str(console))
            return renamed.metrics(child.data.metrics, child.data.params)

        return self._try(end)

    def claim(
        self, name: str, experiment: str, settings: Settings | None = None
    ) -> tuple[locks.Lock, Child | None] | None:
        """The sole right to a child, and the child where it was begun before; `None` while another process has it.

        See `child` for the arguments.
        """
        with store.reported(TrainingError, f"run {self.id}", self._uri):
            lock = locks.lock(self._uri, f"{self.id}/{hashlib.sha256(name.encode()).hexdigest()}")
        if lock is None:
            return None
        child = self.child(name, experiment, settings)
        if child and child.status == "RUNNING" and not lock.is_sure:
            lock.release()
            return None
        return lock, child

    def finish(self) -> None:
        """End the sweep as FINISHED."""
        self.end("FINISHED")

    def log_note(self, rows: Sequence[Sequence[str]] = ()) -> None:
        """Describe the sweep for MLflow's page: note, command, and the `rows` of a table, the first the header."""
        self.log_tags({notes.NOTE: notes.of_sweep(self._settings.note, self._command, rows)})

    how_to_resume = "the same command resumes the sweep"

    def note_on(self, error: BaseException) -> str:
        return self.how_to_resume if isinstance(error, INTERRUPTIONS) else super().note_on(error)

    @property
    def _patience(self) -> float:
        return math.inf


@contextmanager
def sweep(settings: TrackingSettings, key: str, experiments: Collection[str], resume: bool) -> Iterator[SweepRun]:
    """The run whose children are the jobs of a sweep: with `resume` the newest that has this `key`, else a new one.

    It is looked for in the `experiments` of all its jobs; which of these is the first depends on the order of the jobs.
    """
    uri = mlflow.get_tracking_uri()
    with store.reported(InputError, "a new sweep", uri), locks.locked(uri, key):
        known = store.retry(uri, lambda: newest_sweep(experiments, key)) if resume else None
        run = SweepRun(uri, settings, known)
        if not resume:
            run.how_to_resume = "the same command with hydra.launcher.resume=true resumes the sweep"
        run.log_tags({SWEEP: key})
    with recorded(run):
        yield run
    ownership.remove_folder(addresses.folder(uri) / ".claims" / run.id)


def _newest(client: mlflow.MlflowClient, experiment_id: str, condition: str) -> list[mlflow.entities.Run]:
    found: list[mlflow.entities.Run] = client.search_runs(
        [experiment_id], condition, order_by=["attributes.start_time DESC"], max_results=50_000
    )
    return found


def _is_of(run: mlflow.entities.Run, settings: Settings) -> bool:
    """True for a run of the same identity that was made of `settings`, those included that a resume may change."""
    recorded_values = {
        key: str(value) for key, value in flatten(settings).items() if key.split(".")[0] in ("epochs", "evaluate")
    }
    return all(run.data.params.get(key, value) == value for key, value in recorded_values.items())

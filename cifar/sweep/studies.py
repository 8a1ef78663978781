"""An Optuna study of which several processes take trials, each while it holds a lock on the study.

Besides what Optuna keeps of a trial, it holds which job of the sweep it is, which process runs the job, and, once it
has ended, how.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import fail_stale_trials
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from cifar.config import objective
from cifar.runtime import processes
from cifar.runtime.errors import InputError, warn
from cifar.runtime.terminal import redact
from cifar.search import storage
from cifar.sweep.jobs import Outcome
from cifar.sweep.search import Options
from cifar.sweep.space import Space
from cifar.tracking import addresses
from cifar.tracking.locks import locked

JOB, PROCESS, OUTCOME, SEARCH = "job", "process", "outcome", "search"
"""Attributes of a trial, `JOB` the last that is set when it is taken; and of a study, the identity of its search."""
AWAY = (StorageInternalError, SQLAlchemyError)
"""What a database that does not answer raises."""
STATES = {"FINISHED": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED}


class Study:
    """The trials of a search; `open` comes before all else.

    A trial whose process is gone, or that shows no sign of life, is queued again with its values.
    """

    def __init__(self, url: str, options: Options, space: Space, objectives: Sequence[str], epochs: int):
        """`epochs` are the most that a job has. Raises `InputError` where the database at `url` cannot be used."""
        self.url, self._options, self._space, self._objectives = url, options, space, objectives
        self._pruner = options.pruner.build(epochs=epochs)
        self._storage = _connect(url)
        self._own: set[int] = set()
        self._ids: dict[int, int] = {}
        self._is_new_here = True

    def open(self, name: str, search: str, *, is_new: bool = False) -> None:
        """The study of this `name`, made where it is not there; raises `InputError` where it is of another `search`."""
        directions = [
            StudyDirection.MINIMIZE if objective.lower_is_better(metric) else StudyDirection.MAXIMIZE
            for metric in self._objectives
        ]
        with locked(self.url, "studies"):
            known = name in {study.study_name for study in optuna.get_all_study_summaries(self._storage, False)}
            if known and is_new:
                raise InputError(
                    f"hydra.sweeper.study_name={name}: has been begun; hydra.launcher.resume=false needs another name"
                )
            self._study = optuna.create_study(
                study_name=name, storage=self._storage, directions=directions, pruner=self._pruner, load_if_exists=True
            )
            if not known:
                self._study.set_user_attr(SEARCH, search)
        if self._study.user_attrs.get(SEARCH) != search:
            raise InputError(
                f"hydra.sweeper.study_name={name}: has been begun with other settings, another objective "
                "or another search space"
            )

    @property
    def name(self) -> str:
        return self._study.study_name

    def take(self, total: int) -> tuple[FrozenTrial | None, dict[int, FrozenTrial]]:
        """A trial to run, one that was abandoned before a new one, if there are less than `total`; and all, by job."""
        with locked(self.url, f"study-{hashlib.sha256(self.name.encode()).hexdigest()}"):
            self._queue_abandoned()
            trials = self._newest()
            is_queue_empty = not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            if is_queue_empty and len(trials) >= total:
                return None, trials
            if is_queue_empty:
                values = {name: dimension.values for name, dimension in self._space.items()}
                self._study.sampler = self._options.sampler.build(trial=len(trials), values=values)
            asked = self._study.ask({name: dimension.distribution() for name, dimension in self._space.items()})
            asked.set_user_attr(PROCESS, processes.this_process())
            trial_id = self._ids[asked.number] = self._storage.get_trial_id_from_study_id_trial_number(
                self._storage.get_study_id_from_name(self.name), asked.number
            )
            self._storage.record_heartbeat(trial_id)
            asked.set_user_attr(JOB, asked.user_attrs.get(JOB, len(trials)))
            self._own.add(trial_id)
            return self._storage.get_trial(trial_id), trials

    def trial_id(self, trial: FrozenTrial) -> int:
        """The id by which the storage knows a trial that was taken here; its number counts within the study."""
        return self._ids[trial.number]

    def tell(self, trial: FrozenTrial, outcome: Outcome) -> None:
        """How a trial that was taken has ended."""
        trial_id = self.trial_id(trial)
        self._own.discard(trial_id)
        if self._storage.get_trial(trial_id).state != TrialState.RUNNING:
            warn(f"{outcome.job.name}: another sweep has taken this trial of the study for abandoned")
            return
        state, values = STATES.get(outcome.status, TrialState.FAIL), None
        if state == TrialState.COMPLETE:
            reached = [objective.value(name, outcome.metrics) for name in self._objectives]
            values = [value for value in reached if value is not None and math.isfinite(value)]
            if len(values) < len(reached):
                state, values = TrialState.FAIL, None
        record = {name: value for name, value in asdict(outcome).items() if name != "job"}
        self._storage.set_trial_user_attr(trial_id, OUTCOME, record)
        self._study.tell(trial.number, values, state)

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Inside the `with`, the trials that this process has taken show signs of life."""
        left = threading.Event()

        def beat() -> None:
            while not left.wait(storage.HEARTBEAT):
                with contextlib.suppress(*AWAY):  # the next may come through
                    self._show_life()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            left.set()
            thread.join()

    def _show_life(self) -> None:
        for trial in tuple(self._own):
            self._storage.record_heartbeat(trial)

    def _newest(self) -> dict[int, FrozenTrial]:
        """The newest trial of each job; of an older one that was queued again, nothing is awaited any more."""
        trials = self._study.get_trials(deepcopy=False)
        return {trial.user_attrs[JOB]: trial for trial in trials if JOB in trial.user_attrs}

    def _queue_abandoned(self) -> None:
        queue_again = self._storage.get_heartbeat_stale_trial_callback()
        assert queue_again
        self._show_life()
        fail_stale_trials(self._study)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if JOB not in trial.user_attrs:  # who took it died while doing so
                self._study.tell(trial.number, state=TrialState.FAIL)
        for trial in self._newest().values():
            if trial.state == TrialState.RUNNING and processes.is_gone(trial.user_attrs[PROCESS]):
                self._study.tell(trial.number, state=TrialState.FAIL)
                queue_again(self._study, trial)
            elif trial.state == TrialState.FAIL and (self._is_new_here or _was_left(trial)):
                queue_again(self._study, trial)
        self._is_new_here = False


def _was_left(trial: FrozenTrial) -> bool:
    """True if a trial ended early because its sweep, or the process that would queue it again, was ended."""
    record = trial.user_attrs.get(OUTCOME)
    return not record or (record["status"] == "KILLED" and trial.user_attrs[PROCESS] != processes.this_process())


def default_url(tracking_uri: str | None) -> str:
    """The storage of studies next to the runs at `tracking_uri`: `optuna.db`, or the schema `optuna` on PostgreSQL.

    In MLflow's own tables' place they cannot be: both note the version of their tables in one called `alembic_version`.
    """
    uri = addresses.chosen(tracking_uri)
    if not uri.startswith("postgresql"):
        return addresses.sqlite(addresses.folder(uri).parent / "optuna.db")
    try:
        with create_engine(uri, poolclass=NullPool).begin() as connection:
            connection.execute(CreateSchema("optuna", if_not_exists=True))
    except (SQLAlchemyError, ImportError) as error:
        raise InputError(f"tracking.uri={redact(uri)}: cannot be opened: {first_line(error)}") from None
    own = make_url(uri).update_query_dict({"options": "-csearch_path=optuna"})
    return own.render_as_string(hide_password=False)


def _connect(url: str) -> optuna.storages.RDBStorage:
    where = f"hydra.sweeper.storage={addresses.shown(url)}"
    try:
        with locked(url, "studies"):
            if "experiments" in inspect(create_engine(url, poolclass=NullPool)).get_table_names():
                raise InputError(f"{where}: is MLflow's; a study needs a database of its own")
            return storage.open_storage(url)
    except (*AWAY, OSError, ImportError) as error:
        raise InputError(f"{where}: cannot be opened: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """The first line of a database's own message."""
    cause = error.__cause__ or error
    return (str(getattr(cause, "orig", None) or cause).splitlines() or [type(cause).__name__])[0]

"""Jobs that a study asks for, one after the other; several processes that run the same study share them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from optuna.trial import FrozenTrial

from cifar import tracking
from cifar.config import renamed
from cifar.config.settings import Settings, flatten
from cifar.runtime.errors import warn
from cifar.search.trial import variables
from cifar.sweep import confirmation, engine, jobs, search
from cifar.sweep.jobs import GRACE, Job, Outcome, named
from cifar.sweep.search import Options
from cifar.sweep.space import Space, Value, size
from cifar.sweep.studies import AWAY, JOB, OUTCOME, Study, default_url, first_line
from cifar.tracking import addresses

LOOK = 2.0
"""Seconds between two looks for whether trials that another process runs have ended."""

Overrides = Callable[[Mapping[str, Value]], tuple[str, ...]]
"""From the values of what is searched to the overrides that make a job of them."""


class Trials:
    """The source of the jobs of a `study`: `total` of them, with those of earlier sweeps and of other processes.

    A job whose sweep was killed is resumed; one that failed is resumed when the sweep is started again.
    """

    seeks_best = True

    def __init__(
        self, study: Study, key: str, settings: Settings, *, space: Space, options: Options, epochs: int,
        overrides: Overrides,
    ):  # fmt: skip
        """`settings` are those of any job."""
        self.experiments, self._params = [settings.tracking.experiment], flatten(settings)
        self.name = f"study {options.study_name}" if options.study_name else f"search of {', '.join(space)}"
        self.key = key
        is_grid = options.sampler.name == "grid"
        self.total = int(min(options.n_trials, size(space))) if is_grid else options.n_trials
        self._study, self._space, self._options = study, space, options
        self._epochs, self._overrides = epochs, overrides
        self._asked: FrozenTrial | None = None
        self._asked_at = self._looked = float("-inf")
        self._running: dict[str, tuple[FrozenTrial, tracking.Lock]] = {}
        self._unreported: list[tuple[FrozenTrial, Outcome]] = []
        self._known_jobs: set[int] = set()
        self._past: list[Outcome] = []
        self._all_ended = self._is_away = False

    def begin(self, parent: tracking.SweepRun) -> None:
        self._parent = parent
        if not self._options.study_name:
            self._study.open(parent.id, self.key)

    def take(self) -> Job | Outcome | None:
        if not self._past and not self._asked and time.monotonic() - self._looked > LOOK:
            self._look()
        if self._past:
            return self._past.pop(0)
        return self._start(self._asked) if self._asked else None

    def report(self, outcome: Outcome) -> None:
        trial, lock = self._running.pop(outcome.job.name)
        self._end(trial, outcome)
        lock.release()

    def is_done(self) -> bool:
        return self._all_ended and not self._past

    def conclude(self) -> None: ...

    def _look(self) -> None:
        """Ask for a trial, and for those that have ended elsewhere."""
        self._looked = time.monotonic()
        with self._retrying():
            self._tell()
            self._asked, trials = self._study.take(self.total)
            self._asked_at = self._looked
            ended = {number: trial for number, trial in trials.items() if trial.state.is_finished()}
            self._past = [self._outcome(trial) for number, trial in ended.items() if number not in self._known_jobs]
            self._known_jobs |= ended.keys()
            self._all_ended = not self._asked and len(ended) == len(trials)

    def _tell(self) -> None:
        while self._unreported:
            self._study.tell(*self._unreported[0])
            del self._unreported[0]

    @contextmanager
    def _retrying(self) -> Iterator[None]:
        """Inside the `with`, a database that is away is no error: what was not done is tried again at the next look."""
        try:
            yield
            self._is_away = False
        except AWAY as error:
            if not self._is_away:
                warn(f"the study does not answer and is asked again: {first_line(error)}")
            self._is_away = True

    def _start(self, trial: FrozenTrial) -> Job | Outcome | None:
        """The job of a trial, or how it has ended already; `None` while it runs still, though its sweep is gone."""
        job = self._job(trial)
        claimed = self._parent.claim(job.name, self.experiments[0])
        if not claimed:
            return None
        lock, child = claimed
        if child and child.status == "RUNNING" and time.monotonic() - self._asked_at < GRACE:
            lock.release()
            return None
        self._asked = None
        self._looked = float("-inf")  # there may be another for the next slot
        if child and child.status in ("FINISHED", "PRUNED"):
            lock.release()
            outcome = Outcome(job, child.status, child.reason, child.id, child.metrics)
            self._end(trial, outcome)
            return outcome
        self._running[job.name] = trial, lock
        return Job(
            job.name,
            (*job.overrides, named(job.name), f"tracking.parent={self._parent.id}", "resume=auto"),
            self._environment(trial),
            lock.descriptors,
        )

    def _end(self, trial: FrozenTrial, outcome: Outcome) -> None:
        self._known_jobs.add(trial.user_attrs[JOB])
        self._unreported.append((trial, outcome))
        self._looked = float("-inf")
        with self._retrying():
            self._tell()

    def _job(self, trial: FrozenTrial) -> Job:
        keys = {name: name if name in trial.params else renamed.oldest_key(name) for name in self._space}
        values = {name: dimension.exact(trial.params[keys[name]]) for name, dimension in self._space.items()}
        shown = {keys[name]: f"{value:.4g}" if isinstance(value, float) else value for name, value in values.items()}
        name = " ".join([f"trial {trial.user_attrs[JOB]}", *(f"{name}={value}" for name, value in shown.items())])
        return Job(name, self._overrides(values))

    def _outcome(self, trial: FrozenTrial) -> Outcome:
        record = trial.user_attrs[OUTCOME]
        return Outcome(self._job(trial), **{**record, "metrics": renamed.metrics(record["metrics"], self._params)})

    def _environment(self, trial: FrozenTrial) -> dict[str, str]:
        if not self._options.prunes:
            return {}
        pruner = self._options.pruner.model_dump()
        return variables(self._study.url, self._study.name, self._study.trial_id(trial), pruner, self._epochs)


def run(
    options: Options,
    launcher: jobs.Options,
    space: Space,
    settings: Sequence[Settings],
    overrides: Overrides,
    settings_of: Callable[[Sequence[str]], Settings],
) -> None:
    """Search the `space`, its jobs run as `launcher` says; `settings` are those of jobs at its ends.

    `settings_of` composes the settings of the jobs that confirm the best trials. Raises `InputError` before the first
    job where the study cannot be used.
    """
    shared, key = settings[0], search.fingerprint(options, space, settings[0])
    epochs = max(one.total_epochs for one in settings)
    tracking.check(shared.tracking)  # before a study is created
    url = addresses.normalized(options.storage) if options.storage else default_url(shared.tracking.uri)
    study = Study(url, options, space, shared.objectives, epochs)
    if options.study_name:
        study.open(options.study_name, key, is_new=not launcher.resume)
    tracking.connect(shared.tracking.uri)
    source: engine.Source = Trials(study, key, shared, space=space, options=options, epochs=epochs, overrides=overrides)
    if options.confirm:
        source = confirmation.Confirmed(source, options, shared.objectives[0], settings_of)
    with study.kept_alive():
        engine.run(source, shared.tracking, shared.objectives, launcher)

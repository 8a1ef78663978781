"""Studies of the Optuna search without processes."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from cifar.config.schema import validate
from cifar.search import storage
from cifar.sweep import space
from cifar.sweep.jobs import Job, Outcome
from cifar.sweep.search import Options
from cifar.sweep.studies import Study

SPACE = {
    "lr": space.Interval(1e-4, 1e-1, log=True),
    "units": space.Interval(1, 64, log=False),
    "dropout": space.steps(0.1, 0.6, 0.1, log=False),
    "optimizer": space.Choice(["adam", "sgd"]),
}


def search_options(sampler: str = "random", pruner: str = "none", n_trials: int = 20, **more) -> Options:
    stated = {"tpe": {"n_startup_trials": 2}, "cmaes": {"n_startup_trials": 1}, "qmc": {"kind": "sobol"},
              "nsgaii": {"population_size": 3}, "median": {"n_startup_trials": 1, "n_warmup_steps": 0}}  # fmt: skip
    own = {"name": sampler, "seed": 3, **stated.get(sampler, {}), **more}
    ending = {"name": pruner, **stated.get(pruner, {})}
    options = {
        "n_trials": n_trials,
        "storage": None,
        "study_name": None,
        "params": {},
        "sampler": own,
        "pruner": ending,
    }
    return validate(Options, options, "hydra.sweeper")


@functools.cache
def empty_database() -> bytes:
    """What a database of Optuna holds before its first study; to make one takes as long as to draw ten trials."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optuna.db"
        storage.open_storage(f"sqlite:///{path}").engine.dispose()
        return path.read_bytes()


def open_study(
    folder: Path, chosen: Options | None = None, dimensions=SPACE, objectives=("val/loss",), name="study"
) -> Study:
    path = folder / "optuna.db"
    if not path.exists():
        path.write_bytes(empty_database())
    study = Study(f"sqlite:///{path}", chosen or search_options(), dimensions, objectives, epochs=9)
    study.open(name, "key")
    return study


def outcome_of(trial, status: str = "FINISHED", loss: float = 1.0) -> Outcome:
    return Outcome(Job(f"trial {trial.number}", ()), status, metrics={"best/loss": loss, "model/parameters": 7.0})


def draw_trials(study: Study, count: int, objective=lambda params: params["units"] / 64) -> list[dict]:
    """The values of the next `count` trials, each ended before the next is asked for."""
    values = []
    for _ in range(count):
        trial, _ = study.take(total=100)
        study.tell(trial, outcome_of(trial, loss=objective(trial.params)))
        values.append(trial.params)
    return values

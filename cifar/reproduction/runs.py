"""Reproductions of recorded runs."""

from __future__ import annotations

from collections.abc import Sequence

from cifar import tracking
from cifar.config.overrides import with_data
from cifar.config.settings import Settings
from cifar.distributed import devices
from cifar.reproduction.comparison import SCORES, Comparison
from cifar.reproduction.provenance import differences, reasons
from cifar.runtime import interrupts, output, terminal
from cifar.runtime.errors import InputError, TrainingError
from cifar.tracking import environment, queries
from cifar.tracking.names import REPRODUCTION, REPRODUCTION_OF
from cifar.tracking.queries import StoredRun
from cifar.training.experiment import Experiment


def reproduce(uri: str | None, run_id: str, given: Sequence[str], tolerance: float | None) -> None:
    """Train a finished run again as a new run, and compare the two; `given` are overrides with the path of its data.

    Weights and metrics must be equal to the bit where that is promised; elsewhere each score must be within
    `tolerance`, by default `comparison.standard_errors`. Raises `InputError` where it cannot be tried, `TrainingError`
    where the result differs.
    """
    tracking.connect_existing(uri)
    recorded = _finished(run_id)
    settings = _settings(recorded, with_data(queries.settings(recorded), given), uri)
    experiment = Experiment.of_run(settings, recorded.tags.get("dataset_fingerprint", ""))
    if devices.processes(settings).process_count > 1:
        raise InputError("reproduce: a training of several processes; accepted: one process")
    is_promised = _checked(recorded, settings)
    if not is_promised and not SCORES.keys() & recorded.metrics.keys():
        raise InputError(f"run {recorded.id}: equal bits are not promised, and it has no score to compare")
    tracking.check(settings.tracking)
    output.drop_unread()
    devices.start(settings, experiment.dataset, experiment.order.count)
    from cifar.training import trainer

    model = experiment.compiled_model(start=tracking.weights_of)
    tracking.connect(uri)
    with interrupts.handled(), tracking.start(settings.tracking) as run:
        run.log_tags({REPRODUCTION_OF: recorded.id})
        trainer.describe(experiment, model, run)
        trainer.finish(experiment, trainer.fit(experiment, model, run), run)
        (reproduced,) = queries.find_runs([run.id])
        images = {"val": len(experiment.dataset.val), "test": len(experiment.dataset.test)}
        found = Comparison.of(recorded, reproduced, images, tolerance)
        verdict = _verdict(found, is_promised)
        run.log_tags({REPRODUCTION: verdict})
        run.log_text(f"{found}\n{verdict}\n", "reproduction.txt")
    print(f"\n{found}")
    if verdict.startswith("differs"):
        raise TrainingError(f"run {recorded.id[:8]} is not reproduced by run {reproduced.id[:8]}: {verdict}")
    print(f"run {recorded.id[:8]} is reproduced by run {reproduced.id[:8]}: {verdict}")


def _finished(run_id: str) -> StoredRun:
    (run,) = queries.find_runs([queries.find_training(run_id).info.run_id])
    if run.status != "FINISHED":
        raise InputError(f"run {run_id}: the run is {run.status}, not finished")
    return run


def _settings(run: StoredRun, settings: Settings, uri: str | None) -> Settings:
    """The settings of the run as those of a new run of no sweep, which looks at the test images if the run did."""
    name = f"{run.name} (reproduction)"
    changed = {
        "resume": None,
        "dry_run": False,
        "evaluate": settings.evaluate.model_copy(update={"test": run.is_evaluated}),
        "tracking": settings.tracking.model_copy(
            update={"uri": uri, "experiment": run.experiment, "name": name, "parent": None}
        ),
        **({"precision": run.tags["precision"]} if settings.precision == "auto" and "precision" in run.tags else {}),
    }
    return settings.model_copy(update=changed)


def _checked(run: StoredRun, settings: Settings) -> bool:
    """Print what differs from when the run was trained; true if equal bits are promised."""
    starts, machine = tracking.starts_of(run), environment.describe()
    found = differences(starts, environment.code(), machine)
    if found:
        rows = [["", "recorded", "now"], *([one.name, one.recorded, one.now] for one in found)]
        print(f"run {run.id[:8]} was trained with")
        print(terminal.table(rows, terminal.width()))
    commit = run.tags.get("git_commit")
    if commit and any(one.name == "code" for one in found):
        diff = ", its artifact git.diff the changes to it" if run.tags.get("git_dirty") == "True" else ""
        print(f"`git checkout {commit[:10]}` gives its commit{diff}")
    against = [*(one.name for one in found if one.decides), *reasons(settings, starts, machine)]
    same = "data and settings are the same" if found else "data, settings, code, versions and machine are the same"
    promise = f"not promised, because of {', '.join(against)}" if against else "promised"
    print(f"{same}; equal bits are {promise}", flush=True)
    return not against


def _verdict(found: Comparison, is_promised: bool) -> str:
    if found.is_equal:
        return "weights and metrics are equal to the bit"
    if is_promised:
        return "differs, though code, data, versions and machine are the same and equal bits are promised"
    if beyond := [one.name for one in found.scores if not one.is_within]:
        return f"differs by more than the tolerance in {', '.join(beyond)}"
    return "scores are within the tolerance"

"""Evaluations of recorded runs: printed, and on other data recorded with the run."""

from __future__ import annotations

from collections.abc import Sequence

from cifar import tracking
from cifar.evaluation.subject import Request, Subject
from cifar.interfaces import Evaluation
from cifar.runtime.paths import COMMAND


def evaluate(uri: str | None, run_ids: Sequence[str], request: Request) -> None:
    """Evaluate the weights of each run on its own test images, or on the data of the request; raises `InputError`.

    Prints the reports and the metrics. On other data both are recorded with the run, with the pictures.
    """
    for subject in [Subject.of(uri, run_id, request) for run_id in run_ids]:
        model = subject.model()
        from cifar.training import calibration, trainer

        if len(run_ids) > 1:
            print(f"run {subject.run.id}:")
        temperature = calibration.recorded(subject.experiment.settings.evaluate, subject.run.metrics)
        evaluation = trainer.test(subject.experiment, model, temperature)
        show(evaluation, subject.prefix)
        if not subject.is_own:
            tracking.EndedRun(subject.run).log_other(evaluation, subject.prefix, subject.source)
            print(f"recorded under {subject.prefix}/; `{COMMAND} compare` shows it")


def show(evaluation: Evaluation, prefix: str) -> None:
    """Print the reports and the metrics."""
    for name, table in evaluation.tables.items():
        if name.endswith(".txt"):
            print(table)
    for name, value in evaluation.metrics.items():
        print(f"{prefix}/{name} {value:.4f}")

"""Evaluations of recorded runs: printed, and recorded with the run where it has none of these images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING

from cifar import tracking
from cifar.evaluation import corrupted
from cifar.evaluation.subject import OWN, Request, Subject
from cifar.interfaces import Evaluation
from cifar.runtime import output
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np
from cifar.runtime.paths import COMMAND
from cifar.runtime.status import status
from cifar.training.experiment import Experiment

if TYPE_CHECKING:
    import keras


def evaluate(uri: str | None, run_ids: Sequence[str], request: Request, as_json: bool = False) -> None:
    """Evaluate the weights of each run on its own test images, or on the data of the request; raises `InputError`.

    Prints the reports and the metrics, or the metrics as JSON. They are recorded with the run, with the pictures, on
    other data, and on its own test images if that was left out after the training.
    """
    found = []
    for subject in [Subject.of(uri, run_id, request) for run_id in run_ids]:
        if as_json and subject.published:
            raise InputError(f"evaluate --json: is not for {subject.prefix}, whose results are tables of several kinds")
        if request.corrupts or subject.published:
            corrupted.evaluate(subject, request)
            continue
        model = subject.model()
        from cifar.training import trainer

        if len(run_ids) > 1 and not as_json:
            print(f"run {subject.run.id}:")
        temperature = subject.temperature()
        with status(f"evaluating on {len(subject.experiment.dataset.test):,} test images"):
            evaluation = trainer.test(subject.experiment, model, temperature)
        if as_json:
            metrics = {f"{subject.prefix}/{name}": value for name, value in evaluation.metrics.items()}
            found.append({"run": subject.run.id, "name": subject.run.name, "metrics": metrics})
        else:
            show(evaluation, subject.prefix)
        if request.twins:
            show_without_twins(subject.experiment, model, temperature, evaluation)
        tracking.EndedRun(subject.run).count_look(subject.experiment.dataset.test_fingerprint)
        if request.views is None or not subject.is_own:
            with redirect_stdout(sys.stderr) if as_json else nullcontext():
                record(subject, evaluation)
    if as_json:
        output.print_json(found)


def record(subject: Subject, evaluation: Evaluation) -> None:
    """Record an evaluation with its run, unless the run has it already."""
    run = tracking.EndedRun(subject.run)
    if not subject.is_own:
        run.log_other(evaluation, subject.prefix, dict(subject.source))
        print(f"recorded under {subject.prefix}/; `{COMMAND} compare` shows it")
    elif subject.run.status == "FINISHED" and not subject.run.is_evaluated:
        run.log_evaluation(evaluation, OWN)
        data = subject.experiment.dataset
        run.log_figures(evaluation.figures, f"{data.name}, {len(data.test):,} test images")
        print(f"recorded under {OWN}/")


def show_without_twins(
    experiment: Experiment, model: keras.Model, temperature: float | None, evaluation: Evaluation
) -> None:
    """Print the metrics on the test images that have no near duplicate in training, next to those of `evaluation`."""
    from cifar.audit import duplicates
    from cifar.training import trainer

    dataset = experiment.dataset
    twins, count = duplicates.tests_with_twins(dataset), len(dataset.test)
    print(f"{len(twins):,} of {count:,} test images ({100 * len(twins) / count:.1f} %) have a twin in training")
    if 0 < len(twins) < count:
        rest = dataset.test.take(np.setdiff1d(np.arange(count), twins))
        without = trainer.test(replace(experiment, dataset=replace(dataset, test=rest)), model, temperature)
        for name in (name for name in evaluation.metrics if name in without.metrics):
            print(f"test/{name} without them {without.metrics[name]:.4f}, with them {evaluation.metrics[name]:.4f}")


def show(evaluation: Evaluation, prefix: str) -> None:
    """Print the reports and the metrics."""
    for name, table in evaluation.tables.items():
        if name.endswith(".txt"):
            print(table)
    for name, value in evaluation.metrics.items():
        print(f"{prefix}/{name} {value:.4f}")

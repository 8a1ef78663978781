"""The mean of several runs' probabilities, each calibrated if its run is."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from cifar.evaluation.runs import show
from cifar.evaluation.subject import Request, Subject
from cifar.metrics.calibration import negative_log_likelihood, with_temperature
from cifar.runtime.errors import InputError

PREFIX = "ensemble"


def evaluate(uri: str | None, run_ids: Sequence[str], request: Request) -> None:
    """Print the accuracy of each run, and the reports and metrics of the mean of their probabilities.

    Nothing is recorded, since an ensemble is no run. Raises `InputError` for runs that do not have the same test images
    and classes, and for another task than classification.
    """
    subjects = [Subject.of(uri, run_id, request) for run_id in run_ids]
    _check(subjects)
    accuracies, answers = [], []
    for subject in subjects:
        model = subject.model()
        from cifar.training import trainer

        predictions, _ = trainer.predicted(subject.experiment, model)
        temperature = subject.temperature()
        probabilities = predictions["probabilities"]
        answers.append(probabilities if temperature is None else with_temperature(probabilities, temperature))
        labels = subject.experiment.dataset.test.targets["label"]
        accuracies.append(float((answers[-1].argmax(axis=1) == labels).mean()))
        print(f"run {subject.run.id}: accuracy {accuracies[-1]:.4f}", flush=True)
    experiment, mean = subjects[0].experiment, np.mean(answers, axis=0)
    test = experiment.dataset.test
    evaluation = experiment.task.evaluate({"probabilities": mean}, test)
    evaluation.metrics = {"nll": negative_log_likelihood(mean, test.targets["label"]), **evaluation.metrics}
    show(evaluation, PREFIX)
    gain = evaluation.metrics["accuracy"] - fmean(accuracies)
    print(f"{gain:+.4f} against the mean accuracy of the {len(subjects)} runs")


def _check(subjects: Sequence[Subject]) -> None:
    ids = [subject.run.id for subject in subjects]
    if len(set(ids)) < len(ids):
        raise InputError(f"--ensemble: run {max(ids, key=ids.count)} is named twice; accepted: different runs")
    first = subjects[0].experiment
    for subject in subjects:
        experiment = subject.experiment
        if not experiment.task.is_classifier:
            raise InputError(
                f"--ensemble: run {subject.run.id} has task={experiment.settings.task.name}; accepted: runs that "
                "classify images"
            )
        if subject.published:
            raise InputError("--ensemble: takes one set of images; name it by data.corruption and data.severity")
        if experiment.dataset.class_names != first.dataset.class_names:
            raise InputError(f"--ensemble: the classes of run {subject.run.id} are not those of run {ids[0]}")
        if experiment.dataset.test_fingerprint != first.dataset.test_fingerprint:
            raise InputError(f"--ensemble: the test images of run {subject.run.id} are not those of run {ids[0]}")

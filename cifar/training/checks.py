"""What does not go together: settings with each other, and with the data and the task. All raise `InputError`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar.augmentation import Geometric, Mixing, transforms_of
from cifar.config import objective
from cifar.config.renamed import unknown_metric
from cifar.config.settings import Settings
from cifar.data import folds
from cifar.distributed import devices
from cifar.runtime.errors import InputError

if TYPE_CHECKING:
    from cifar.training.experiment import Experiment

RANGE_TEST_STEPS = 50  # with fewer, the learning rates of a range test are too far from each other


def check_settings(settings: Settings) -> None:
    """Raises `InputError` for settings that do not go together, each right in itself."""
    devices.check(settings)
    folds.check(settings.data.folds, settings.data.fold)
    if settings.batch_size % settings.accumulate_steps:
        raise InputError(
            f"accumulate_steps={settings.accumulate_steps}: should divide batch_size={settings.batch_size}"
        )
    if settings.accumulate_steps > 1 and settings.distribute != "none":
        raise InputError(
            f"accumulate_steps={settings.accumulate_steps}: distribute={settings.distribute} computes a batch at once; "
            "accepted: 1"
        )
    if settings.minutes is not None and (settings.finetune.epochs or settings.distribute == "data_parallel"):
        raise InputError(
            f"minutes={settings.minutes:g}: decides the epochs of one phase, measured by one process; "
            "needs finetune.epochs=0 and no distribute=data_parallel"
        )
    if "lr_range" in settings.callbacks and (settings.schedule.name != "lr_range" or settings.finetune.epochs):
        raise InputError("callbacks.lr_range: needs schedule=lr_range and finetune.epochs=0")
    if "reduce_lr" in settings.callbacks and settings.schedule.name != "constant":
        raise InputError(f"callbacks.reduce_lr: needs schedule=constant, not schedule={settings.schedule.name}")
    if settings.data.sampling == "balanced" == getattr(settings.task, "class_weights", None):
        raise InputError("data.sampling=balanced: task.class_weights=balanced does the same; accepted: one of them")
    transforms = {name: choice.build() for name, choice in settings.augmentation.items()}
    if getattr(settings.data, "cached_size", None) is not None and not transforms_of(Geometric, transforms):
        raise InputError(
            "data.cached_size: no geometric augmentation resamples the larger photos; accepted: "
            "augmentation=[random_resized_crop,flip], or data.cached_size=null"
        )


def check_experiment(experiment: Experiment) -> None:
    """Raises `InputError` for settings that do not fit the data or the task."""
    _check_metrics(experiment)
    _check_sampling(experiment)
    check_schedules(experiment)
    _check_evaluation(experiment)
    _check_range_test(experiment)
    if experiment.task.is_dense:
        _check_places(experiment)


def check_schedules(experiment: Experiment) -> None:
    """Raise `InputError` for a schedule that does not fit the epochs of a phase."""
    for phase in experiment.phases:
        try:
            experiment.schedule(phase)
        except InputError as error:
            if phase.unfreeze:  # the message says `epochs`
                raise InputError(f"finetune.epochs={phase.epochs}: {error}") from None
            raise


def _check_sampling(experiment: Experiment) -> None:
    """Raise `InputError` for a choice of images that the task cannot use."""
    if experiment.settings.data.sampling == "balanced" and "label" not in experiment.task.targets:
        task = experiment.settings.task.name
        raise InputError(f"data.sampling=balanced: with task={task}, an image has no class; accepted: shuffle")


def _check_evaluation(experiment: Experiment) -> None:
    """Raise `InputError` for a calibration that the task does not have."""
    if experiment.settings.evaluate.calibration != "none" and not experiment.task.is_classifier:
        raise InputError(
            f"evaluate.calibration={experiment.settings.evaluate.calibration}: task={experiment.settings.task.name} "
            "has no probabilities of classes; accepted: none"
        )


def _check_range_test(experiment: Experiment) -> None:
    """Raise `InputError` where a learning-rate range test has too few steps."""
    steps = experiment.settings.epochs * experiment.steps_per_epoch
    if "lr_range" in experiment.settings.callbacks and steps < RANGE_TEST_STEPS:
        enough = -(-RANGE_TEST_STEPS // experiment.steps_per_epoch)
        raise InputError(f"callbacks.lr_range: {steps} steps are too few; epochs={enough} is enough")


def _check_places(experiment: Experiment) -> None:
    """Raise `InputError` for settings that dense prediction cannot use."""
    reason = f"task={experiment.settings.task.name} has targets with positions in the image"
    for name, _ in transforms_of(Mixing, experiment.augmentation().transforms):
        raise InputError(f"augmentation.{name}: {reason}, so that images cannot be mixed")
    if experiment.settings.evaluate.tta != "none":
        raise InputError(f"evaluate.tta={experiment.settings.evaluate.tta}: {reason}, so that views cannot be averaged")
    if "boxes" in experiment.task.targets and experiment.settings.fill_mode in ("reflect", "wrap"):
        raise InputError(
            f"fill_mode={experiment.settings.fill_mode}: shows objects again, of which there are no boxes; "
            f"task={experiment.settings.task.name} takes nearest or constant"
        )


def _check_metrics(experiment: Experiment) -> None:
    """Raises `InputError` where a metric that a setting names is never logged, or is not one to choose runs by."""
    settings, task = experiment.settings, experiment.task
    logged = [f"{split}/{name}" for split in ("train", "val") for name in ("loss", *task.metric_names)]
    for name, callback in settings.callbacks.items():
        monitor = getattr(callback, "monitor", None)
        if monitor is not None and monitor not in logged:
            raise InputError(f"callbacks.{name}.monitor={monitor}: never logged; {unknown_metric(monitor, logged)}")
    objective.check(settings.objectives, logged)

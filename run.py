"""Train and evaluate one experiment, or many.

python run.py model=cnn3 optimizer.lr=1e-3
python run.py --multirun optimizer.lr=1e-3,1e-2
python run.py resume=RUN_ID
"""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cifar.config import extensions, hydra_errors, overrides
from cifar.runtime import interrupts, output
from cifar.runtime.errors import ExitCodes
from cifar.runtime.status import status


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@ExitCodes()
def main(composed: DictConfig) -> None:
    # MLflow and TensorFlow load late, so that a mistake is answered at once: each import stands where it is needed.
    from cifar.config import run_name
    from cifar.config.compose import resolve
    from cifar.distributed import devices
    from cifar.training import checks
    from cifar.training.experiment import Experiment

    given, unfinished = [], None
    if HydraConfig.initialized():  # not where settings are handed to `main` without a command line
        hydra_errors.refuse_mixtures(HydraConfig.get())
        given = HydraConfig.get().overrides.task
    if overrides.names_run(composed.resume):
        with status(f"looking for run {composed.resume}"):
            from cifar import tracking

            settings, unfinished = tracking.find_resumable(composed, given)
    else:
        settings = run_name.with_name(resolve(composed), given)
    checks.check_settings(settings)
    is_first = devices.processes(settings).process_index == 0  # of those that train together, this one keeps the record
    if settings.model.name == "from_run":
        from cifar import tracking

        settings = tracking.with_model_of_run(settings)
    with status(f"loading data={settings.data.name}"):
        experiment = Experiment.prepare(settings)

    from cifar import tracking

    if unfinished:
        unfinished.check_data(experiment.dataset)
    if is_first and not settings.dry_run:
        tracking.check(settings.tracking)
        if settings.resume == "auto":
            unfinished = tracking.newest_unfinished(settings, experiment.dataset)
            if unfinished and settings.minutes is not None:
                experiment = experiment.with_epochs(unfinished.epochs)
    with status(f"loading Keras for {settings.backend}"):
        devices.start(settings, experiment.dataset, experiment.order.count)
        from cifar.training import budget, dry_run, trainer

    with status(f"building model={settings.model.name}"):
        model = experiment.compiled_model(start=None if unfinished else tracking.weights_of)
    if settings.minutes is not None and not unfinished:
        experiment = budget.fitted(experiment, model)
    if settings.dry_run:
        dry_run.show_costs(experiment, model)
        return
    if is_first:
        with interrupts.handled(), interrupts.deferred():  # MLflow does not survive a signal while it makes a store
            tracking.connect(settings.tracking.uri)
        interrupts.check()
    started = tracking.start(settings.tracking, unfinished) if is_first else tracking.unrecorded()
    with interrupts.handled(), started as run, devices.abort_on_failure():
        trainer.describe(experiment, model, run)
        model = trainer.fit(experiment, model, run, resumed=unfinished is not None)
        if is_first:
            trainer.finish(experiment, model, run)


if __name__ == "__main__":
    output.prepare()
    output.drop_unread()
    with ExitCodes(), hydra_errors.one_line_errors():
        sys.argv[1:] = overrides.composable(sys.argv[1:])
        extensions.load_command(sys.argv[1:])
        if {"--help", "-h", "--version"} & {*sys.argv[1:]}:
            from cifar.reference import help

            help.answer(sys.argv[1:])
        else:
            main()

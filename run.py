"""Train and evaluate one experiment, or many.

python run.py model=cnn3 optimizer.lr=1e-3
python run.py --multirun optimizer.lr=1e-3,1e-2
python run.py resume=RUN_ID
"""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cifar import interrupts, mistakes
from cifar.errors import ExitCodes
from cifar.lazy import Lazy
from cifar.runtime import output

# `--help` and what Hydra refuses need none of these.
config, devices, experiments = Lazy("cifar.config"), Lazy("cifar.devices"), Lazy("cifar.experiment")
overrides, rehearsal = Lazy("cifar.overrides"), Lazy("cifar.rehearsal")
tracking, training = Lazy("cifar.tracking"), Lazy("cifar.training")


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@ExitCodes()
def main(composed: DictConfig) -> None:
    # What needs no tensor comes first, so that a mistake is answered before TensorFlow has loaded.
    given, unfinished = [], None
    if HydraConfig.initialized():  # not where settings are handed to `main` without a command line
        mistakes.refuse_mixtures(HydraConfig.get())
        given = HydraConfig.get().overrides.task
    if overrides.names_run(composed.resume):
        settings, unfinished = tracking.find_resumable(composed, given)
    else:
        settings = config.resolve(composed)
    experiments.check(settings)
    first = devices.processes(settings).index == 0  # of several that train together, the one that keeps the record
    if settings.model["name"] == "from_run":
        settings = tracking.with_model_of_run(settings)
    experiment = experiments.Experiment.prepare(settings)
    if unfinished:
        unfinished.check_data(experiment.dataset)
    if first and not settings.dry_run:
        tracking.check(settings.tracking)
        if settings.resume == "auto":
            unfinished = tracking.newest_unfinished(settings, experiment.dataset)

    devices.start(settings, experiment.dataset)
    model = experiment.compiled_model(start=None if unfinished else tracking.weights_of)
    if settings.dry_run:
        rehearsal.rehearse(experiment, model)
        return
    if first:
        tracking.connect(settings.tracking.uri)
    started = tracking.start(settings.tracking, unfinished) if first else tracking.unrecorded()
    with interrupts.handled(), started as run, devices.together():
        training.describe(experiment, model, run)
        model = training.fit(experiment, model, run, resumed=unfinished is not None)
        if first:
            training.evaluate(experiment, model, run)


if __name__ == "__main__":
    output.prepare()
    output.drop_unread()
    with ExitCodes(), mistakes.told_in_one_line():
        sys.argv[1:] = overrides.composable(sys.argv[1:])
        main()

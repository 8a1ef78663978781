"""Train and evaluate one experiment, or many.

python run.py model=cnn3 optimizer.lr=1e-3
python run.py --multirun optimizer.lr=1e-3,1e-2
python run.py resume=RUN_ID
"""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cifar import config, interrupts
from cifar.errors import ExitCodes
from cifar.experiment import Experiment, check
from cifar.lazy import Lazy, load_tensorflow

tracking, training = Lazy("cifar.tracking"), Lazy("cifar.training")


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@ExitCodes()
def main(composed: DictConfig) -> None:
    # What needs no tensor comes first, so that a mistake is answered before TensorFlow has loaded.
    settings, run_id = config.resolve(composed), None
    check(settings)
    if settings.resume:
        settings, run_id = tracking.find_resumable(settings, HydraConfig.get().overrides.task)
    experiment = Experiment.prepare(settings)
    tracking.connect(settings.tracking.uri)

    load_tensorflow()
    model = experiment.compiled_model()
    with interrupts.handled(), tracking.start(settings.tracking, run_id) as run:
        training.describe(experiment, model, run)
        training.fit(experiment, model, run)
        training.evaluate(experiment, model, run)


if __name__ == "__main__":
    with ExitCodes(), config.one_line_mistakes():
        main()

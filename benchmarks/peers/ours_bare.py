"""Our model and batches in a `fit` without any callback; with --in-memory, on the batches of one epoch over and over.

python ours_bare.py [--in-memory] OVERRIDES…
"""

import sys
from pathlib import Path

from shared import EVALUATION_BATCH, turn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import keras  # noqa: E402
from hydra import compose, initialize_config_dir  # noqa: E402

from cifar.config.compose import resolve  # noqa: E402
from cifar.training import pipeline  # noqa: E402
from cifar.training.experiment import Experiment  # noqa: E402

in_memory = "--in-memory" in sys.argv
with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
    settings = resolve(compose("config", [override for override in sys.argv[1:] if override != "--in-memory"]))
experiment = Experiment.prepare(settings)
model = experiment.compiled_model()
batches = pipeline.training_batches(
    experiment.dataset.train, experiment.task, experiment.augmentation(), seed=settings.seed,
    batch_size=settings.batch_size, epochs=settings.epochs,
)  # fmt: skip
if in_memory:
    batches = batches.take(experiment.steps_per_epoch).cache().repeat()
model.fit(
    batches,
    steps_per_epoch=experiment.steps_per_epoch,
    epochs=settings.epochs,
    validation_data=pipeline.evaluation_batches(experiment.dataset.val, experiment.task, EVALUATION_BATCH),
    callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=turn)],
    shuffle=False,
    verbose=0,
)

"""A recorded run's model for new images; the data of the run are not needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar import tracking
from cifar.images.photos import Photo
from cifar.nn import graph
from cifar.prediction import reading
from cifar.runtime.lazy import load_tensorflow, np
from cifar.tracking import queries
from cifar.tracking.queries import StoredRun
from cifar.training.experiment import Experiment

if TYPE_CHECKING:
    import keras

OUTPUTS, FEATURES = "outputs", "features"


@dataclass(frozen=True)
class Answered:
    """A file with the `predictions` for it, arrays (1, …) in pixels of the photo, and their `answer` in JSON values.

    `features` are float32 (channels,).
    """

    path: Path
    photo: Photo
    predictions: dict[str, np.ndarray]
    answer: list[dict[str, Any]]
    features: np.ndarray


@dataclass(frozen=True)
class Recorded:
    """A run with weights, and its experiment with a stand-in for the data."""

    run: StoredRun
    experiment: Experiment
    weights: Path

    @classmethod
    def find(cls, uri: str | None, run_id: str) -> Recorded:
        """Read the record of a run; raises `InputError`; needs no TensorFlow."""
        settings, weights, _ = tracking.stored_run(uri, run_id)
        (run,) = queries.find_runs([run_id])
        settings = settings.model_copy(update={"distribute": "none", "deterministic": False})
        return cls(run, Experiment.prepare(settings, tracking.placeholder_dataset(run)), weights)

    def answers(self, paths: Sequence[Path], refuse: reading.Refuse) -> Iterator[Answered]:
        """Answer each file that can be read, in batches; raises `InputError` for weights that cannot."""
        task, network = self.experiment.task, self._network
        for batch in reading.batches(paths, self.experiment.preparation, refuse):
            computed = network.predict_on_batch(np.stack([photo.image for _, photo in batch]))
            found = task.predictions(computed[OUTPUTS])
            for row, (path, photo) in enumerate(batch):
                predictions = photo.located({name: values[row : row + 1] for name, values in found.items()})
                yield Answered(path, photo, predictions, task.decode(predictions)[0], computed[FEATURES][row])

    @cached_property
    def _network(self) -> keras.Model:
        """The calibrated model, from images to its outputs and to features float32 (n, channels).

        Features are the means over all positions of the deepest feature map of the backbone.
        """
        load_tensorflow(self.experiment.settings.backend)
        import keras

        from cifar.training import calibration, trainer

        backbone = self.experiment.backbone()
        model = self.experiment.task.model(backbone)
        trainer.load_weights(model, self.weights)
        calibration.calibrated(model, self.experiment.settings, self.run.metrics)
        deepest = backbone.output[graph.deepest(backbone.output)]
        features = keras.layers.GlobalAveragePooling2D(dtype="float32")(deepest)
        return keras.Model(model.input, {OUTPUTS: model.output, FEATURES: features})

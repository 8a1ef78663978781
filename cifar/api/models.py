"""Models of recorded runs, in this process and by its Keras, whose settings stay as they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar import tracking
from cifar.images import photos
from cifar.images.io import open_image
from cifar.images.photos import Photo, Preparation
from cifar.interfaces import Task
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras, load_tensorflow, np
from cifar.training.experiment import Experiment

if TYPE_CHECKING:
    Images = np.ndarray | str | Path | Sequence[str | Path]
    """uint8 (n, height, width, channels) or one such image, or the paths of image files of any size."""


@dataclass(frozen=True)
class Restored:
    """A finished run's model, calibrated if the run is, and its task."""

    model: keras.Model
    task: Task
    preparation: Preparation

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.preparation.shape

    @classmethod
    def of(cls, uri: str | None, run_id: str) -> Restored:
        """Build the model that the run's settings name, and load its weights; raises `InputError`.

        The data of the run are not needed.
        """
        run, settings, weights = tracking.finished_run(uri, run_id)
        dataset = tracking.placeholder_dataset(run)
        if "keras" not in sys.modules:
            # Else TensorFlow takes all memory of a GPU, and leaves none to the next training, another process.
            os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
            load_tensorflow(os.environ.get("KERAS_BACKEND", "tensorflow"), with_wrappers=True)
        changes = {"backend": keras.backend.backend(), "distribute": "none"}
        experiment = Experiment.prepare(settings.model_copy(update=changes), dataset)
        from cifar.training import calibration, trainer

        model = experiment.blank_model()
        trainer.load_weights(model, weights)
        return cls(calibration.calibrated(model, settings, run.metrics), experiment.task, experiment.preparation)

    def predictions(self, images: Images) -> dict[str, np.ndarray]:
        """The task's predictions, arrays (n, …) by name, in pixels of the model's images; raises `InputError`."""
        paths = _paths(images)
        return self._predict(np.stack([self._photo(path).image for path in paths]) if paths else self._batch(images))

    def answers(self, images: Images) -> list[Any]:
        """The task's answer for each image; boxes and masks in a file are in pixels of the file's photo."""
        found = [self.task.decode(photo.located(self._predict(photo.image[None])))[0]
                 for photo in map(self._photo, _paths(images))]  # fmt: skip
        return found or self.task.decode(self._predict(self._batch(images)))

    def _photo(self, path: str | Path) -> Photo:
        return photos.prepare(open_image(path, path), self.preparation, path)

    def _batch(self, images: Any) -> np.ndarray:
        """The images as a batch; raises `InputError` for another shape or type than the model's."""
        batch = np.asarray(images)
        if batch.shape == self.image_shape:
            batch = batch[None]
        if batch.dtype != np.uint8 or batch.shape[1:] != self.image_shape:
            shape = ", ".join(map(str, self.image_shape))
            raise InputError(
                f"images: {batch.dtype} of shape {batch.shape}; accepted: uint8 of shape (n, {shape}), 0 to 255, or "
                "paths of image files"
            )
        return batch

    def _predict(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        return self.task.predictions(self.model.predict(batch, verbose=0))


def _paths(images: Images) -> Sequence[str | Path]:
    """The paths among what `images` may be; none for arrays."""
    if isinstance(images, str | Path):
        return [images]
    return [one for one in images if isinstance(one, str | Path)] if isinstance(images, list | tuple) else []

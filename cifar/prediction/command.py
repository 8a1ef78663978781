"""The command `python -m cifar predict`: a finished run's answers for image files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cifar.config.command_parser import CommandParser
from cifar.config.overrides import with_data
from cifar.files import ownership
from cifar.images.io import encode_png, read_image, read_photo
from cifar.runtime.lazy import load_tensorflow
from cifar.training.experiment import Experiment


def add_arguments(command: CommandParser) -> None:
    """Add the arguments of `predict`."""
    command.takes_data = True
    command.add_argument("run_id", metavar="RUN")
    command.add_argument("images", metavar="IMAGE", nargs="+", type=Path)


def predict(arguments: argparse.Namespace) -> None:
    """Print the task's answer for each image as a line of JSON.

    Boxes and masks are also written next to the image, as JSON and drawn on a copy of it.
    """
    for path in arguments.images:
        read_image(path, (1, 1, 3))
    from cifar import tracking

    settings, weights, fingerprint = tracking.stored_run(arguments.tracking_uri, arguments.run_id)
    experiment = Experiment.of_run(with_data(settings, arguments.data), fingerprint)
    task, shape = experiment.task, experiment.dataset.image_shape
    if task.is_dense:
        for path in arguments.images:
            for written in _written(path):
                ownership.check(written)
    load_tensorflow(experiment.settings.backend)
    from cifar.tracking import queries
    from cifar.training import calibration, trainer

    (run,) = queries.find_runs([arguments.run_id])
    model = calibration.calibrated(trainer.with_weights(experiment, weights), experiment.settings, run.metrics)
    for path in arguments.images:
        if task.is_dense:
            photo, image, position = read_photo(path, shape)
            found = position.to_photo(task.predictions(model.predict(image[None], verbose=0)))
        else:
            found = task.predictions(model.predict(read_image(path, shape)[None], verbose=0))
        answer = {"image": str(path), "answer": task.decode(found)[0]}
        print(json.dumps(answer))
        if task.is_dense:
            drawn = task.draw(photo, {name: values[0] for name, values in found.items()})
            picture, record = _written(path)
            ownership.write(picture, encode_png(drawn, ownership.MARK))
            ownership.write(record, (json.dumps({"generator": ownership.MARK, **answer}) + "\n").encode())


def _written(image: Path) -> tuple[Path, Path]:
    """The picture and the text that `predict` writes next to an image."""
    return Path(f"{image}.predicted.png"), Path(f"{image}.predicted.json")

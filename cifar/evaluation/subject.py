"""A recorded run and the images that it is evaluated on: its own test images, or those of other data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar import tracking
from cifar.config.overrides import with_data
from cifar.config.settings import Settings, Views
from cifar.evaluation.classes import matched
from cifar.interfaces import Dataset
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import load_tensorflow
from cifar.tracking import queries
from cifar.tracking.queries import StoredRun
from cifar.training.experiment import Experiment, load

if TYPE_CHECKING:
    import keras

OWN = "test"
"""The prefix of the metrics of a run on its own test images."""
RESERVED = ("train", "val", OWN, "best", "model", "system")
"""Prefixes of the metrics of a training."""


@dataclass(frozen=True)
class Request:
    """What a command line says about the data: overrides of the run's settings, names of classes, and a prefix.

    With `twins`, a run is also evaluated without the test images that have a near duplicate in training.
    """

    given: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    prefix: str | None = None
    views: Views | None = None
    twins: bool = False


@dataclass(frozen=True)
class Subject:
    """A run to evaluate, with the images in question as the test split of its experiment.

    `prefix` is that of the metrics; `source` identifies other images, and is empty for the run's own.
    """

    run: StoredRun
    experiment: Experiment
    weights: Path
    prefix: str = OWN
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, uri: str | None, run_id: str, request: Request) -> Subject:
        """Read a recorded run and the images; raises `InputError`; needs no TensorFlow."""
        settings, weights, fingerprint = tracking.stored_run(uri, run_id)
        (run,) = queries.find_runs([run_id])
        views = request.views or settings.evaluate.tta
        if not request.given:
            own = cls(run, Experiment.of_run(settings, fingerprint), weights)
        else:
            changed = with_data(settings, request.given)
            dataset = load(changed)
            if dataset.fingerprint == fingerprint:
                own = cls(run, Experiment.prepare(changed, dataset), weights)
            else:
                own = cls._on_other(run, settings, weights, dataset, request, views)
        chosen = settings.evaluate.model_copy(update={"tta": views})
        experiment = replace(own.experiment, settings=own.experiment.settings.model_copy(update={"evaluate": chosen}))
        return replace(own, experiment=experiment)

    @classmethod
    def _on_other(
        cls, run: StoredRun, settings: Settings, weights: Path, other: Dataset, request: Request, views: Views
    ) -> Subject:
        stand_in = tracking.placeholder_dataset(run)
        if other.test.images.shape[1:] != stand_in.image_shape:
            there, here = ("×".join(map(str, shape)) for shape in (other.test.images.shape[1:], stand_in.image_shape))
            raise InputError(f"data={other.name}: images are {there}; accepted: {here}, as those of the run")
        split = matched(other, stand_in.class_names, request.names)
        experiment = Experiment.prepare(settings, stand_in)
        experiment.dataset.require_targets(*experiment.task.targets)
        shown = replace(stand_in, name=other.name, test=split)
        prefix = request.prefix or _prefix(other.name) + (f".{views}" if views != settings.evaluate.tta else "")
        source = {"data": other.name, "images": len(split), "fingerprint": shown.test_fingerprint, "tta": views}
        check_prefix(prefix, run, source)
        return cls(run, replace(experiment, dataset=shown), weights, prefix, source)

    @property
    def is_own(self) -> bool:
        """True for the test images of the run itself."""
        return self.prefix == OWN

    def model(self) -> keras.Model:
        """The run's model with its weights; raises `InputError`."""
        load_tensorflow(self.experiment.settings.backend)
        from cifar.training import trainer

        return trainer.with_weights(self.experiment, self.weights)


def check_prefix(prefix: str, run: StoredRun, source: Mapping[str, Any]) -> None:
    """Raises `InputError` for a prefix that belongs to the training or to other images, or that MLflow would refuse."""
    if prefix in RESERVED or not re.fullmatch(r"[\w.\- :]+", prefix) or set(prefix) == {"."}:
        raise InputError(
            f"--as {prefix}: should be letters, digits and any of '_-. :', and none of {', '.join(RESERVED)}, which "
            "belong to the training"
        )
    known = queries.other_data(run).get(prefix, source)
    if known["fingerprint"] != source["fingerprint"]:
        raise InputError(
            f"run {run.id}: {prefix}/… are its metrics on other images, of fingerprint {known['fingerprint'][:12]}…; "
            "--as NAME records these under another name"
        )


def _prefix(name: str) -> str:
    """The name of a data set with `_` for each character that MLflow does not take in the name of a metric."""
    return re.sub(r"[^\w.\- :]", "_", name)

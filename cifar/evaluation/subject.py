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
from cifar.evaluation.published import Published
from cifar.interfaces import Dataset, Split
from cifar.runtime.errors import InputError, warn
from cifar.runtime.lazy import load_tensorflow
from cifar.tracking import queries
from cifar.tracking.queries import StoredRun
from cifar.training.experiment import Experiment, load

if TYPE_CHECKING:
    import keras

OWN = "test"
"""The prefix of the metrics of a run on its own test images."""
CORRUPTIONS = "corruptions"
"""The same under common corruptions."""
RESERVED = ("train", "val", OWN, "best", "model", "system")
"""Prefixes of the metrics of a training."""


@dataclass(frozen=True)
class Request:
    """A command line: overrides of the data, names of classes, prefix, views, and true for common corruptions.

    With `twins`, a run is also evaluated without the test images that have a near duplicate in training.
    """

    given: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    prefix: str | None = None
    views: Views | None = None
    corrupts: bool = False
    twins: bool = False


@dataclass(frozen=True)
class Subject:
    """A run to evaluate, with the images in question as the test split of its experiment.

    `prefix` is that of the metrics; `source` identifies the images, and is empty where they are the run's own as they
    are. `published` are the files of a benchmark of corruptions, whose images the test split stands for.
    """

    run: StoredRun
    experiment: Experiment
    weights: Path
    prefix: str = OWN
    source: Mapping[str, Any] = field(default_factory=dict)
    published: Published | None = None

    @classmethod
    def of(cls, uri: str | None, run_id: str, request: Request) -> Subject:
        """Read a recorded run and the images; raises `InputError`; needs no TensorFlow."""
        settings, weights, fingerprint = tracking.stored_run(uri, run_id)
        (run,) = queries.find_runs([run_id])
        data = with_data(settings, request.given)
        published = Published.of(data)
        if published and request.corrupts:
            raise InputError(f"--corruptions: data={data.data.name} is corrupted already; accepted: one of the two")
        if not request.given:
            experiment, name = Experiment.of_run(settings, fingerprint), ""
        else:
            other = published.part(*published.parts[0]) if published else load(data)
            is_own = other.fingerprint == fingerprint
            experiment = Experiment.prepare(data, other) if is_own else on_other(run, settings, other, request.names)
            name = "" if is_own else data.data.name if published else other.name
        views = request.views or settings.evaluate.tta
        changed = experiment.settings.evaluate.model_copy(update={"tta": views})
        experiment = replace(experiment, settings=experiment.settings.model_copy(update={"evaluate": changed}))
        parts = [name, CORRUPTIONS if request.corrupts else "", views if views != settings.evaluate.tta else ""]
        prefix = _name_of_metrics(".".join(filter(None, parts))) if name or request.corrupts else OWN
        if prefix == OWN and not request.prefix:
            return cls(run, experiment, weights)
        test = experiment.dataset
        source = {"data": name or test.name, "images": len(test.test), "fingerprint": test.test_fingerprint,
                  "tta": views, "corrupted": bool(request.corrupts or published)}  # fmt: skip
        check_prefix(request.prefix or prefix, run, source)
        return cls(run, experiment, weights, request.prefix or prefix, source, published)

    @property
    def is_own(self) -> bool:
        """True for the test images of the run itself, as they are."""
        return self.prefix == OWN

    def temperature(self) -> float | None:
        """What the run's logits are divided by, in the views in question; `None` if it is not calibrated."""
        from cifar.training import calibration

        return calibration.recorded(self.experiment.settings.evaluate, self.run.metrics)

    def model(self) -> keras.Model:
        """The run's model with its weights; raises `InputError`, also where they do not fit images of another size."""
        load_tensorflow(self.experiment.settings.backend)
        from cifar.training import trainer

        if not self.is_own:
            self._check_size()
        return trainer.with_weights(self.experiment, self.weights)

    def _check_size(self) -> None:
        dataset, own = self.experiment.dataset, tracking.placeholder_dataset(self.run)
        if dataset.image_shape == own.image_shape:
            return
        models = [replace(self.experiment, dataset=data).blank_model() for data in (dataset, own)]
        here, there = ([tuple(weight.shape) for weight in model.weights] for model in models)
        if here != there:
            raise InputError(
                f"data={dataset.name}: images are {_shown(dataset.image_shape)}; accepted: {_shown(own.image_shape)}, "
                f"as those of the run, since weights of model={self.experiment.settings.model.name} depend on the size"
            )


def on_other(run: StoredRun, settings: Settings, other: Dataset, names: Mapping[str, str]) -> Experiment:
    """The experiment of a run with the test images of other data, its classes called as `names` say.

    Its model is that of the run, whose own data are not needed. Raises `InputError`.
    """
    stand_in = tracking.placeholder_dataset(run)
    shape, own = other.test.images.shape[1:], stand_in.image_shape
    if shape[-1] != own[-1]:
        channels = f"{own[-1]} channel{'s' if own[-1] > 1 else ''}"
        raise InputError(f"data={other.name}: images are {_shown(shape)}; accepted: {channels}, as in the run")
    if shape != own:
        warn(f"data={other.name}: images are {_shown(shape)}, those of the training {_shown(own)}")
        stand_in = Dataset.placeholder(stand_in.name, stand_in.class_names, shape, stand_in.resize)
    targets = {name: target for name, target in stand_in.train.targets.items() if name in other.test.targets}
    stand_in = replace(stand_in, name=other.name, train=Split(stand_in.train.images, targets))
    experiment = Experiment.prepare(settings, stand_in)
    test = matched(other, stand_in.class_names, names)
    return replace(experiment, dataset=replace(stand_in, test=test))


def check_prefix(prefix: str, run: StoredRun, source: Mapping[str, Any]) -> None:
    """Raises `InputError` for a prefix that belongs to the training or to other images, or that MLflow would refuse."""
    if prefix in RESERVED or not re.fullmatch(r"[\w.\- :]+", prefix) or set(prefix) == {"."}:
        raise InputError(
            f"--as {prefix}: should be letters, digits and any of '_-. :', and none of {', '.join(RESERVED)}, which "
            "belong to the training"
        )
    known = queries.other_data(run).get(prefix, source)
    if known != source:
        raise InputError(
            f"run {run.id}: {prefix}/… are its metrics on other images ({known['data']}, fingerprint "
            f"{known['fingerprint'][:12]}…); --as NAME records these under another name"
        )


def _shown(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _name_of_metrics(name: str) -> str:
    """The name of data with `_` for each character that MLflow does not take in the name of a metric."""
    return re.sub(r"[^\w.\- :]", "_", name)

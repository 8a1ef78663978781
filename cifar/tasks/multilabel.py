"""Classification of images that have any number of the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cifar.config.builders import ClassifierSettings
from cifar.config.registry import LOSSES, TASKS
from cifar.config.schema import NonNegativeFloat, Rate, Share
from cifar.interfaces import Dataset, Evaluation, Split, Task
from cifar.metrics.choices import measured
from cifar.nn.classifier import with_classifier
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np, tf
from cifar.runtime.terminal import number, table
from cifar.tasks.classification import coverage, listed

if TYPE_CHECKING:
    Loss = str
else:
    Loss = LOSSES["multilabel"]

SHOWN = 5
"""Minimum number of classes in an answer."""


@TASKS.register
def multilabel(
    dataset: Dataset,
    classifier: ClassifierSettings | None,
    *,
    label_smoothing: Rate,
    loss: Loss,
    focal_gamma: NonNegativeFloat,
    threshold: Share,
) -> Multilabel:
    """A sigmoid for each class of the data set; binary cross-entropy, or focal loss with `focal_gamma`.

    Data whose images have one `label` each are taken too.
    """
    has_one_label = "label" in dataset.train.targets and "labels" not in dataset.train.targets
    target = "label" if has_one_label else "labels"
    dataset.require_targets(target)
    if classifier is None:
        raise InputError("model.classifier: required setting is missing; task=multilabel needs it")
    return Multilabel(dataset.class_names, classifier, target, loss, label_smoothing, focal_gamma, threshold)


class Multilabel(Task):
    """Targets `labels` (n, classes) bool or `label` (n,) int64; outputs (n, classes) float32 probabilities."""

    metric_names = ("f1_micro",)
    main_metric = "map"
    is_dense = False
    explains_classes = True

    def __init__(
        self,
        class_names: tuple[str, ...],
        classifier: ClassifierSettings | None = None,
        target: str = "labels",
        loss: Loss = "cross_entropy",
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        threshold: float = 0.5,
    ):
        self.class_names = class_names
        self.classifier = classifier
        self.targets = (target,)
        self.kind = loss
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.threshold = threshold

    def model(self, backbone):
        return with_classifier(backbone, len(self.class_names), self.classifier, "sigmoid")

    def encode(self, targets):
        if "label" in self.targets:
            return tf.one_hot(targets["label"], len(self.class_names))
        return tf.cast(targets["labels"], tf.float32)

    def loss(self):
        return LOSSES["multilabel"].build(
            {"name": self.kind}, label_smoothing=self.label_smoothing, focal_gamma=self.focal_gamma
        )

    def metrics(self):
        from cifar.metrics.micro_f1 import MicroF1

        return [MicroF1(self.threshold, "f1_micro")]

    def predictions(self, outputs):
        return {"probabilities": outputs}

    def described_outputs(self):
        return {"probabilities": {"axes": ["image", "class"], "class": list(self.class_names),
                                  "unit": "probability of each class"}}  # fmt: skip

    def decode(self, predictions):
        return [self._answer(row) for row in predictions["probabilities"]]

    def _answer(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        """The most probable classes: all that are predicted, and at least `SHOWN`."""
        order = np.argsort(-probabilities, kind="stable")
        count = max(SHOWN, int(self._predicted(probabilities).sum()))
        return [
            {"class": self.class_names[k], "probability": float(probabilities[k]),
             "predicted": bool(self._predicted(probabilities[k]))}
            for k in order[:count]
        ]  # fmt: skip

    def _predicted(self, probabilities: np.ndarray) -> np.ndarray:
        return probabilities > self.threshold  # as Keras's metric does

    def evaluate(self, predictions, split):
        from cifar import plots
        from cifar.metrics.multilabel import scores

        probabilities = predictions["probabilities"]
        truth, predicted = split.classes_by_image(len(self.class_names)), self._predicted(probabilities)
        by_class = scores(truth, predicted, probabilities)
        rows = [
            {"class": name, **{column: round(float(values[k]), 6) for column, values in by_class.items()},
             "support": int(truth[:, k].sum())}
            for k, name in enumerate(self.class_names)
        ]  # fmt: skip
        report = {row["class"]: row for row in rows if row["support"]}
        notes = coverage([row["class"] for row in rows if not row["support"]], len(rows))
        return Evaluation(
            metrics=measured("multilabel", truth=truth, predicted=predicted, scores=by_class),
            tables={
                "per_class.txt": table([list(rows[0]), *(map(_cell, row.values()) for row in rows)], columns=120),
                "per_class.csv": rows,
                "predictions.csv": self._rows(split, truth, predicted, probabilities),
            },
            figures={
                "per_class": lambda: plots.per_class_bars(report, list(report), "average_precision", "AP"),
                "confident_mistakes": lambda: plots.wrong_labels(
                    split.images, truth, predicted, probabilities, self.class_names, split.ids
                ),
            },
            notes=notes,
            warnings=self._warnings(truth, predicted),
        )

    def _rows(
        self, split: Split, truth: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray
    ) -> list[dict[str, Any]]:
        """Return a row per image: names of its classes, separated by `;`, and the least certain right one."""

        def names(row: np.ndarray) -> str:
            return ";".join(self.class_names[k] for k in np.flatnonzero(row))

        return [
            {
                "index": index,
                "image": split.name(index),
                "labels": names(true),
                "predicted": names(found),
                "missed": names(true & ~found),
                "wrong": names(found & ~true),
                "correct": bool((true == found).all()),
                **{f"probability of {name}": round(float(p), 6) for name, p in zip(self.class_names, row, strict=True)},
            }
            for index, (true, found, row) in enumerate(zip(truth, predicted, probabilities, strict=True))
        ]

    def _warnings(self, truth: np.ndarray, predicted: np.ndarray) -> list[str]:
        """Signs of a model that has not learned: classes of the images that are never predicted."""
        never = np.flatnonzero(truth.any(axis=0) & ~predicted.any(axis=0))
        return [f"never predicted: {listed([self.class_names[k] for k in never])}"] if len(never) else []


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else number(value)

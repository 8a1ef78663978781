"""Image classification."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from cifar.config.builders import ClassifierSettings
from cifar.config.registry import LOSSES, TASKS
from cifar.config.schema import NonNegativeFloat, Rate
from cifar.interfaces import Dataset, Evaluation, Split, Task
from cifar.metrics.choices import measured
from cifar.metrics.confusion import confused_pairs
from cifar.nn.classifier import with_classifier
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras, np, tf
from cifar.runtime.terminal import printable, table

if TYPE_CHECKING:
    Loss = str
else:
    Loss = LOSSES["classification"]

SCORES = ("precision", "recall", "f1-score")
"""Names of a class's scores and their averages, as in scikit-learn's `classification_report`."""
MAX_CONFUSED = 1000
"""Maximum number of rows of the table of mistakes."""
MAX_NAMED = 5
"""Maximum number of classes that a note or a warning names."""


@TASKS.register
def classification(
    dataset: Dataset,
    classifier: ClassifierSettings | None,
    *,
    label_smoothing: Rate,
    loss: Loss = "cross_entropy",
    focal_gamma: NonNegativeFloat = 2.0,
    class_weights: Literal["none", "balanced"] | list[NonNegativeFloat] = "none",
) -> Classification:
    """Softmax over the classes of the data set; categorical cross-entropy, or focal loss with `focal_gamma`.

    The loss of an image is multiplied by the weight of its class; the mean is still over the images. `balanced` weights
    are inverse to the class's frequency in the training images, with a mean of 1 over these.
    """
    dataset.require_targets(*Classification.targets)
    if classifier is None:
        raise InputError("model.classifier: required setting is missing; task=classification needs it")
    if len(dataset.class_names) < 2:
        raise InputError(
            f"data={dataset.name}: has one class, {dataset.class_names[0]!r}; task=classification needs at least 2"
        )
    weights = _weights(class_weights, dataset)
    return Classification(dataset.class_names, loss, label_smoothing, focal_gamma, weights, classifier)


def _weights(given: str | list[float], dataset: Dataset) -> list[float] | None:
    """Return the weight of each class; raises `InputError`."""
    classes = len(dataset.class_names)
    if given == "balanced":
        counts = np.bincount(dataset.train.targets["label"], minlength=classes)
        return (counts.sum() / (classes * np.maximum(counts, 1))).tolist()
    if isinstance(given, str):
        return None
    if len(given) != classes:
        raise InputError(f"task.class_weights={given}: should be {classes} numbers, one for each class")
    if sum(weight > 0 for weight in given) < 2:
        raise InputError(
            f"task.class_weights={given}: should have at least two above 0; otherwise only one class is learned"
        )
    return given


class Classification(Task):
    """Targets `label` (n,) int64; outputs (n, classes) float32 probabilities."""

    targets = ("label",)
    metric_names = ("accuracy",)
    main_metric = "accuracy"
    is_dense = False
    explains_classes = True
    is_classifier = True

    def __init__(
        self,
        class_names: tuple[str, ...],
        loss: Loss = "cross_entropy",
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        class_weights: list[float] | None = None,
        classifier: ClassifierSettings | None = None,
    ):
        self.class_names = class_names
        self.kind = loss
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.class_weights = class_weights
        self.classifier = classifier

    def model(self, backbone):
        return with_classifier(backbone, len(self.class_names), self.classifier)

    def encode(self, targets):
        return tf.one_hot(targets["label"], len(self.class_names))

    def loss(self):
        return LOSSES["classification"].build(
            {"name": self.kind},
            label_smoothing=self.label_smoothing,
            class_weights=self.class_weights,
            focal_gamma=self.focal_gamma,
        )

    def metrics(self):
        return [keras.metrics.CategoricalAccuracy(name="accuracy")]

    def predictions(self, outputs):
        return {"probabilities": outputs}

    def described_outputs(self):
        return {"probabilities": {"axes": ["image", "class"], "class": list(self.class_names),
                                  "unit": "probability; 1 for all classes of an image"}}  # fmt: skip

    def decode(self, predictions, top=5):
        outputs = predictions["probabilities"]
        best = np.argsort(-outputs, axis=1, kind="stable")[:, :top]
        return [
            [{"class": self.class_names[k], "probability": float(row[k])} for k in order]
            for row, order in zip(outputs, best, strict=True)
        ]

    def evaluate(self, predictions, split):
        from sklearn import metrics as sk

        from cifar import plots

        outputs = predictions["probabilities"]
        labels, predicted, confidence = split.targets["label"], outputs.argmax(axis=1), outputs.max(axis=1)
        report = self._report(labels, predicted)
        shown = {name: row for name, row in report["classes"].items() if row["support"]}
        matrix = sk.confusion_matrix(labels, predicted, labels=np.arange(len(self.class_names)))
        notes = self._notes(report)
        return Evaluation(
            metrics=measured(
                "classification",
                labels=labels,
                predicted=predicted,
                probabilities=outputs,
                report=report,
                soft_labels=split.targets.get("soft_label"),
            ),
            tables={
                "classification_report.txt": "\n".join([_as_text(report), *notes]),
                "classification_report.json": report,
                "predictions.csv": self._rows(outputs, split),
                **self._confusions(matrix),
            },
            figures={
                "confusion_matrix": lambda: plots.confusion_matrix(matrix, self.class_names),
                "per_class": lambda: plots.per_class_bars(shown, list(shown)),
                "reliability": lambda: plots.reliability_diagram(confidence, predicted == labels),
                "confident_mistakes": lambda: plots.confident_mistakes(
                    split.images, labels, predicted, confidence, self.class_names, split.ids
                ),
            },
            notes=notes,
            warnings=self._warnings(labels, predicted),
        )

    def _report(self, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
        """Return scikit-learn's `classification_report`, but with classes in a mapping of their own, under any name.

        A class without images has the scores None and is excluded from averages.
        """
        from sklearn import metrics as sk

        computed = sk.precision_recall_fscore_support(
            labels, predicted, labels=np.arange(len(self.class_names)), zero_division=0
        )
        scores, support = np.array(computed[:3]), computed[3]
        has_images = support > 0

        def row(values: np.ndarray, images: int) -> dict[str, Any]:
            return {**{name: float(value) for name, value in zip(SCORES, values, strict=True)}, "support": int(images)}

        empty = {**dict.fromkeys(SCORES), "support": 0}
        return {
            "classes": {name: row(scores[:, k], support[k]) if has_images[k] else empty
                        for k, name in enumerate(self.class_names)},
            "accuracy": float((predicted == labels).mean()),
            "macro avg": row(scores[:, has_images].mean(axis=1), support.sum()),
            "weighted avg": row(np.average(scores, axis=1, weights=support), support.sum()),
        }  # fmt: skip

    def _warnings(self, labels: np.ndarray, predicted: np.ndarray) -> list[str]:
        """Signs of a model that has not learned: no better than the most frequent class, or a class never predicted."""
        accuracy, most_frequent = (predicted == labels).mean(), np.bincount(labels).max() / len(labels)
        if accuracy <= most_frequent + 2 * math.sqrt(most_frequent * (1 - most_frequent) / len(labels)):
            return [
                f"accuracy {accuracy:.4f} is no better than that of always answering with the most frequent class, "
                f"{most_frequent:.4f}"
            ]
        never = [self.class_names[k] for k in np.setdiff1d(labels, predicted)]
        return [f"never predicted: {listed(never)}"] if never else []

    def _notes(self, report: Mapping[str, Any]) -> list[str]:
        return coverage([name for name, row in report["classes"].items() if not row["support"]], len(self.class_names))

    def _confusions(self, matrix: np.ndarray) -> dict[str, list[dict[str, Any]]]:
        """The most frequent mistakes as a table, if there are any."""
        rows = [
            {
                "label": self.class_names[pair.label],
                "predicted": self.class_names[pair.predicted],
                "images": pair.images,
                "share": round(pair.share, 6),
            }
            for pair in confused_pairs(matrix, MAX_CONFUSED)
        ]
        return {"confusions.csv": rows} if rows else {}

    def _rows(self, outputs: np.ndarray, split: Split) -> list[dict[str, Any]]:
        labels, predicted = split.targets["label"], outputs.argmax(axis=1)
        return [
            {
                "index": index,
                "image": split.name(index),
                "label": self.class_names[label],
                "predicted": self.class_names[guess],
                "correct": bool(label == guess),
                "confidence": round(float(row[guess]), 6),
                "label_probability": round(float(row[label]), 6),
            }
            for index, (row, label, guess) in enumerate(zip(outputs, labels, predicted, strict=True))
        ]


def coverage(missing: list[str], classes: int) -> list[str]:
    """A note about the macro averages if some of the `classes` are `missing` in the test images."""
    if not missing:
        return []
    return [f"macro averages cover {classes - len(missing)} of {classes} classes: no test images of {listed(missing)}"]


def listed(names: list[str]) -> str:
    """The first few of the names."""
    return ", ".join(map(printable, names[:MAX_NAMED])) + (", …" if len(names) > MAX_NAMED else "")


def _as_text(report: Mapping[str, Any]) -> str:
    """Format the report: a line for each class, then the averages."""
    averages = {name: report[name] for name in ("macro avg", "weighted avg")}
    images = f"{averages['macro avg']['support']:,}"
    rows = [
        ["class", *SCORES, "images"],
        *([name, *(_score(row[score]) for score in SCORES), f"{row['support']:,}"]
          for name, row in report["classes"].items()),
        ["accuracy", "", "", _score(report["accuracy"]), images],
        *([name, *(_score(row[score]) for score in SCORES), images] for name, row in averages.items()),
    ]  # fmt: skip
    lines = table(rows, columns=120).splitlines()
    return "\n".join([*lines[:-3], "", *lines[-3:]])


def _score(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"

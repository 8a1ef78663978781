"""One class an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from cifar.calibration import expected_calibration_error
from cifar.contracts import Dataset, Evaluation, Task
from cifar.errors import InputError
from cifar.lazy import keras, layers, np, tf
from cifar.registry import TASKS
from cifar.schema import NonNegativeFloat, PositiveFloat, PositiveInt, Rate, settings_of, validate


@TASKS.register
def classification(
    dataset: Dataset,
    *,
    label_smoothing: Rate,
    loss: Literal["cross_entropy", "focal"] = "cross_entropy",
    focal_gamma: NonNegativeFloat = 2.0,
    class_weights: Literal["none", "balanced"] | list[NonNegativeFloat] = "none",
) -> Task:
    """Softmax over the classes of the data set; categorical cross-entropy, or focal loss with `focal_gamma`.

    Where a class has a weight, the losses of its targets count so many times, and the mean is still over the images.
    `balanced` weights are inverse to how often a class is among the training images, where their mean is 1.
    """
    dataset.need(*Classification.targets)
    gamma = focal_gamma if loss == "focal" else 0.0
    return Classification(dataset.class_names, label_smoothing, gamma, _weights(class_weights, dataset))


def _weights(given: str | list[float], dataset: Dataset) -> list[float] | None:
    """The weight of each class; raises `InputError`."""
    classes = len(dataset.class_names)
    if given == "balanced":
        counts = np.bincount(dataset.train.targets["label"], minlength=classes)
        return (counts.sum() / (classes * np.maximum(counts, 1))).tolist()
    if given != "none" and len(given) != classes:
        raise InputError(f"task.class_weights={given}: should be {classes} numbers, one for each class")
    return None if given == "none" else given


def classifier(
    x: keras.KerasTensor,
    classes: int,
    *,
    pooling: Literal["flatten", "average", "max"],
    units: list[PositiveInt],
    dropout: Rate,
    bias: bool = True,
    scale: PositiveFloat = 1.0,
) -> keras.KerasTensor:
    """Feature map (n, height, width, channels) to probabilities (n, classes), through hidden layers of `units`.

    What the last layer sees is multiplied by `scale`.
    """
    pool = {
        "flatten": keras.layers.Flatten,
        "average": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
    }
    x = pool[pooling]()(x)
    for width in units:
        x = keras.layers.Dense(width, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    if scale != 1:
        x = keras.layers.Rescaling(scale, dtype="float32")(x)
    return keras.layers.Dense(classes, activation="softmax", use_bias=bias, dtype="float32", name="probabilities")(x)


class Classification(Task):
    """Targets `label` (n,) int64; outputs (n, classes) float32 probabilities."""

    targets = ("label",)
    metric_names = ("accuracy",)
    by_place = False

    def __init__(
        self,
        class_names: tuple[str, ...],
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        class_weights: list[float] | None = None,
    ):
        self.class_names = class_names
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.class_weights = class_weights

    def check_head(self, head):
        return dict(validate(settings_of(classifier), head, "model.head"))

    def model(self, backbone, head):
        deepest = max(backbone.output, key=lambda level: int(level[1:]))
        outputs = classifier(backbone.output[deepest], len(self.class_names), **self.check_head(head))
        return keras.Model(backbone.input, outputs, name=f"{backbone.name}_classifier")

    def encode(self, targets):
        return tf.one_hot(targets["label"], len(self.class_names))

    def loss(self):
        if self.focal_gamma or self.class_weights:
            # Lin et al. 2017, arXiv:1708.02002; without `gamma` it is the cross-entropy, weighted by class.
            return keras.losses.CategoricalFocalCrossentropy(
                alpha=self.class_weights or 1.0, gamma=self.focal_gamma, label_smoothing=self.label_smoothing
            )
        return keras.losses.CategoricalCrossentropy(label_smoothing=self.label_smoothing)

    def metrics(self):
        return [keras.metrics.CategoricalAccuracy(name="accuracy")]

    def predictions(self, outputs):
        return {"probabilities": outputs}

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
        classes = np.arange(len(self.class_names))
        names = {"labels": classes, "target_names": self.class_names, "zero_division": 0}
        report = sk.classification_report(labels, predicted, output_dict=True, **names)
        matrix = sk.confusion_matrix(labels, predicted, labels=classes)
        return Evaluation(
            metrics=self._scores(outputs, labels, report),
            tables={
                "classification_report.txt": sk.classification_report(labels, predicted, digits=3, **names),
                "classification_report.json": report,
                "predictions.csv": self._rows(outputs, labels),
            },
            figures={
                "confusion_matrix": plots.confusion_matrix(matrix, self.class_names),
                "per_class": plots.per_class_bars(report, self.class_names),
                "reliability": plots.reliability_diagram(confidence, predicted == labels),
                "confident_mistakes": plots.confident_mistakes(
                    split.images, labels, predicted, confidence, self.class_names
                ),
            },
        )

    def _scores(self, outputs: np.ndarray, labels: np.ndarray, report: Mapping[str, Any]) -> dict[str, float]:
        from sklearn import metrics as sk

        predicted = outputs.argmax(axis=1)
        scores = {
            "accuracy": float((predicted == labels).mean()),
            "kappa": float(sk.cohen_kappa_score(labels, predicted, labels=np.arange(len(self.class_names)))),
            "calibration_error": expected_calibration_error(outputs.max(axis=1), predicted == labels),
        }
        for average in ("macro", "weighted"):
            for name in ("precision", "recall", "f1-score"):
                scores[f"{name.removesuffix('-score')}_{average}"] = report[f"{average} avg"][name]
        if len(self.class_names) >= 10:
            top5 = np.argsort(-outputs, axis=1, kind="stable")[:, :5]
            scores["top5_accuracy"] = float((top5 == labels[:, None]).any(axis=1).mean())
        return scores

    def _rows(self, outputs: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
        predicted = outputs.argmax(axis=1)
        return [
            {
                "index": index,
                "label": self.class_names[label],
                "predicted": self.class_names[guess],
                "correct": bool(label == guess),
                "confidence": round(float(row[guess]), 6),
                "label_probability": round(float(row[label]), 6),
            }
            for index, (row, label, guess) in enumerate(zip(outputs, labels, predicted, strict=True))
        ]

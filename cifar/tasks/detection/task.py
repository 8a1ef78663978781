"""What is where in an image: a box and a class for each object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from cifar.config.registry import LOSSES, TASKS
from cifar.config.schema import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share, UnitInterval
from cifar.interfaces import Dataset, Evaluation, Split, Task
from cifar.metrics.choices import measured
from cifar.metrics.detection import judge, matched, overlaps, results, truth
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras, np
from cifar.tasks.detection.fcos import LEAST_SCORE, FCOSHead, Grid
from cifar.tasks.detection.single_object import SingleObjectHead

if TYPE_CHECKING:
    BoxLoss = str
else:
    BoxLoss = LOSSES["detection"].literal()

SAME = 0.7
"""Detections of different classes that overlap more are answers to the same object, of which one counts."""
SHOWN = 4
"""Images in each row of the sheet of examples."""


@TASKS.register
def detection(
    dataset: Dataset,
    *,
    head: Literal["fcos", "box"],
    levels: Annotated[list[NonNegativeInt], Field(min_length=1)],
    fpn_channels: PositiveInt,
    head_depth: NonNegativeInt,
    box_loss: BoxLoss,
    box_weight: PositiveFloat,
    focal_gamma: NonNegativeFloat,
    focal_alpha: Share,
    nms_iou_threshold: UnitInterval,
    max_detections: Annotated[int, Field(ge=1, le=100)],
    score_threshold: Annotated[float, Field(ge=LEAST_SCORE, lt=1)],
) -> Task:
    """Boxes and classes, of any number of objects (`fcos`: `FCOSHead`) or of one an image (`box`: `SingleObjectHead`).

    `levels` are those of the feature pyramid, where level n has stride 2ⁿ, of which `box` takes the first. All its maps
    have `fpn_channels`, and `head_depth` counts the convolutions before each output. Focal loss, `nms_iou_threshold`
    and `max_detections` are of `fcos` alone. Detections with a score of at least `score_threshold` are drawn, returned
    as answers and counted in the confusion matrix. Raises `InputError` where the data or the levels do not fit.
    """
    dataset.require_targets(*Detection.targets)
    if levels != sorted({*levels}):
        raise InputError(f"task.levels={levels}: should go up, each level once")
    most = max(split.targets["classes"].shape[1] for split in (dataset.train, dataset.val, dataset.test))
    if head == "box" and most > 1:
        raise InputError(
            f"task.head=box: finds one object an image, and data={dataset.name} has up to {most}; "
            "task.head=fcos finds any number"
        )
    size, classes = dataset.image_shape[:2], len(dataset.class_names)
    if head == "box":
        one = SingleObjectHead(classes, Grid(size, levels[:1]), fpn_channels, head_depth, box_loss, box_weight)
        return Detection(one, dataset.class_names, score_threshold)
    fcos = FCOSHead(
        classes,
        Grid(size, levels),
        fpn_channels,
        head_depth,
        box_loss,
        box_weight,
        focal_gamma,
        focal_alpha,
        nms_iou_threshold,
        max_detections,
    )
    return Detection(fcos, dataset.class_names, score_threshold)


class Detection(Task):
    """Targets `boxes`, `classes` and `crowd`; outputs and their encoding are those of the `head`."""

    targets = ("boxes", "classes", "crowd")

    def __init__(self, head: FCOSHead | SingleObjectHead, class_names: tuple[str, ...], score_threshold: float):
        self.head = head
        self.metric_names = head.metric_names
        self.class_names = class_names
        self.score_threshold = score_threshold

    def model(self, backbone):
        return keras.Model(backbone.input, self.head.outputs(backbone), name=f"{backbone.name}_detector")

    def encode(self, targets):
        return self.head.encode(targets)

    def loss(self):
        return self.head.loss()

    def metrics(self):
        return self.head.metrics()

    def predictions(self, outputs):
        return self.head.predictions(outputs)

    def answers(self, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The `predictions` less those that are unsure, or that a surer one of whatever class stands for."""
        classes = np.where(predictions["scores"] >= self.score_threshold, predictions["classes"], -1)
        for own, found, scores in zip(classes, predictions["boxes"], predictions["scores"], strict=True):
            sure = np.flatnonzero(own >= 0)
            sure = sure[np.argsort(-scores[sure], kind="stable")]
            same = np.tril(overlaps(found[sure], found[sure], False) >= SAME, -1)
            for row, place in enumerate(sure):
                if (same[row] & (own[sure] >= 0)).any():
                    own[place] = -1
        return {**predictions, "classes": classes}

    def decode(self, predictions):
        found = self.answers(predictions)
        images = zip(found["classes"], found["scores"], found["boxes"], strict=True)
        return [
            [{"class": self.class_names[k], "score": float(score), "box": box.tolist()}
             for k, score, box in zip(*image, strict=True) if k >= 0]
            for image in images
        ]  # fmt: skip

    def draw(self, image, found):
        from cifar.images.overlay import draw_boxes

        if "scores" in found:
            found = {name: values[0] for name, values in self.answers({k: v[None] for k, v in found.items()}).items()}
        return draw_boxes(image, found["boxes"], found["classes"], self.class_names, found.get("scores"))

    def evaluate(self, predictions, split):
        from cifar import plots

        found = results(predictions)
        scores = judge(found, truth(split, self.class_names))
        answers = self.answers(predictions)
        matches = matched(answers, split, len(self.class_names))
        names = (*self.class_names, "background")
        of_one = self._of_one(predictions, split) if isinstance(self.head, SingleObjectHead) else {}
        return Evaluation(
            metrics={**of_one, **measured("detection", scores=scores, predictions=predictions, split=split)},
            tables={
                "average_precision.csv": scores.of_classes(self.class_names),
                "predictions.json": found,
            },
            figures={
                "precision_recall": lambda: plots.precision_recall(scores.precision, self.class_names),
                "confusion_matrix": lambda: plots.confusion_matrix(matches.matrix, names, "objects"),
                "examples": lambda: self._examples(answers, split, matches.quality),
            },
        )

    def _of_one(self, predictions: Mapping[str, np.ndarray], split: Split) -> dict[str, float]:
        """The share of objects whose class is right, and the mean IoU of their boxes, one an image."""
        from cifar.tasks.detection import losses

        there = (split.targets["classes"][:, 0] >= 0) & ~split.targets["crowd"][:, 0]
        true, found = split.targets["boxes"][there, 0], predictions["boxes"][there, 0]
        right = split.targets["classes"][there, 0] == predictions["classes"][there, 0]
        return {"accuracy": float(right.mean()), "iou": float(np.mean(losses.iou(true, found)))}

    def _examples(self, predictions: Mapping[str, np.ndarray], split: Split, quality: np.ndarray) -> Any:
        """The worst, the best and other images, each with what is there and what was found."""
        from cifar import plots

        order = np.argsort(quality, kind="stable")
        chosen = {"worst": order[:SHOWN], "best": order[: -SHOWN - 1 : -1],
                  "at random": np.random.default_rng(0).permutation(len(split))[:SHOWN]}  # fmt: skip

        def drawn(index: int, values: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
            return self.draw(split.images[index], {name: values[name][index] for name in names})

        rows = {
            name: [
                (drawn(index, split.targets, ("boxes", "classes")),
                 drawn(index, predictions, ("boxes", "classes", "scores")), f"quality {quality[index]:.2f}")
                for index in indices
            ]
            for name, indices in chosen.items()
        }  # fmt: skip
        return plots.found_and_true(
            rows,
            f"Mean quality {quality.mean():.3f}: what is there, and what was found "
            f"with a score of at least {self.score_threshold:g}",
        )

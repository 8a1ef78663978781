"""Object detection: a box and a class for each object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from cifar.config.registry import LOSSES, TASKS
from cifar.config.schema import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share, UnitInterval
from cifar.interfaces import Dataset, Evaluation, Split, Task
from cifar.metrics.choices import measured
from cifar.metrics.detection import evaluate, match, pairwise_iou, results, truth
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras, np
from cifar.tasks.detection.fcos import MIN_SCORE, FCOSHead, Grid
from cifar.tasks.detection.single_object import SingleObjectHead

if TYPE_CHECKING:
    BoxLoss = str
else:
    BoxLoss = LOSSES["detection"]

SAME = 0.7
"""IoU above which detections of different classes are duplicates; the one with the highest score is kept."""
SHOWN = 4
"""Number of images in each row of the examples."""


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
    score_threshold: Annotated[float, Field(ge=MIN_SCORE, lt=1)],
) -> Detection:
    """A box and a class for each object: any number of them (`head=fcos`), or one in each image (`head=box`).

    The heads are `FCOSHead` and `SingleObjectHead`. `levels` are those of the feature pyramid, where level n has stride
    2ⁿ, of which `box` takes the first. All its maps have `fpn_channels`, and `head_depth` counts the convolutions
    before each output. Focal loss, `nms_iou_threshold` and `max_detections` are of `fcos` alone. Detections with a
    score of at least `score_threshold` are drawn, returned as answers and counted in the confusion matrix. Raises
    `InputError` where the data or the levels do not fit.
    """
    dataset.require_targets(*Detection.targets)
    if levels != sorted({*levels}):
        raise InputError(f"task.levels={levels}: should be in ascending order without repetition")
    most = max(split.targets["classes"].shape[1] for split in (dataset.train, dataset.val, dataset.test))
    if head == "box" and most > 1:
        raise InputError(
            f"task.head=box: detects one object per image, but data={dataset.name} has up to {most}; "
            "task.head=fcos detects any number"
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
    main_metric = "map"

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

    def exported(self, model):
        from cifar.tasks.detection.suppression import counted

        return counted(self.head.detections(model.output))

    def of_exported(self, outputs):
        rows = outputs["detections"]
        return {"boxes": rows[..., :4], "scores": rows[..., 4], "classes": rows[..., 5].astype(np.int64)}

    def difference(self, outputs, expected):
        from cifar.tasks.detection.suppression import difference

        return difference(outputs["detections"], expected["detections"])

    def described_outputs(self):
        return {
            "detections": {
                "axes": ["image", "detection", "column"],
                "column": ["left", "top", "right", "bottom", "score", "class"],
                "unit": ["pixel", "pixel", "pixel", "pixel", "0 to 1", "index of class_names; -1 for padding"],
                "order": "the highest score first",
            },
            "count": {"axes": ["image"], "unit": "detections, which are the first rows; the others are padding"},
        }

    def answers(self, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Remove predictions below the score threshold, and duplicates of ones with a higher score of any class."""
        classes = np.where(predictions["scores"] >= self.score_threshold, predictions["classes"], -1)
        for labels, boxes, scores in zip(classes, predictions["boxes"], predictions["scores"], strict=True):
            index = np.flatnonzero(labels >= 0)
            index = index[np.argsort(-scores[index], kind="stable")]
            duplicates = np.tril(pairwise_iou(boxes[index], boxes[index], False) >= SAME, -1)
            for row, k in enumerate(index):
                if (duplicates[row] & (labels[index] >= 0)).any():
                    labels[k] = -1
        return {**predictions, "classes": classes}

    def decode(self, predictions):
        answers = self.answers(predictions)
        images = zip(answers["classes"], answers["scores"], answers["boxes"], strict=True)
        return [
            [{"class": self.class_names[k], "score": float(score), "box": box.tolist()}
             for k, score, box in zip(*image, strict=True) if k >= 0]
            for image in images
        ]  # fmt: skip

    def draw(self, image, annotations):
        from cifar.images.overlay import draw_boxes

        if "scores" in annotations:
            answers = self.answers({name: values[None] for name, values in annotations.items()})
            annotations = {name: values[0] for name, values in answers.items()}
        boxes, classes = annotations["boxes"], annotations["classes"]
        return draw_boxes(image, boxes, classes, self.class_names, annotations.get("scores"))

    def evaluate(self, predictions, split):
        from cifar import plots

        detections = results(predictions)
        scores = evaluate(detections, truth(split, self.class_names))
        answers = self.answers(predictions)
        matches = match(answers, split, len(self.class_names))
        names = (*self.class_names, "background")
        extra = self._single_object_metrics(predictions, split) if isinstance(self.head, SingleObjectHead) else {}
        return Evaluation(
            metrics={**extra, **measured("detection", scores=scores, predictions=predictions, split=split)},
            tables={
                "average_precision.csv": scores.by_class(self.class_names),
                "predictions.json": detections,
                "images.csv": [
                    {"index": index, "image": split.name(index), "quality": round(float(quality), 6)}
                    for index, quality in enumerate(matches.quality)
                ],
            },
            figures={
                "precision_recall": lambda: plots.precision_recall(scores.precision, self.class_names),
                "confusion_matrix": lambda: plots.confusion_matrix(matches.matrix, names, "objects"),
                "examples": lambda: self._examples(answers, split, matches.quality),
            },
        )

    def _single_object_metrics(self, predictions: Mapping[str, np.ndarray], split: Split) -> dict[str, float]:
        """Accuracy of the class and mean IoU of the box, for one object per image."""
        from cifar.tasks.detection import losses

        is_object = (split.targets["classes"][:, 0] >= 0) & ~split.targets["crowd"][:, 0]
        true, predicted = split.targets["boxes"][is_object, 0], predictions["boxes"][is_object, 0]
        correct = split.targets["classes"][is_object, 0] == predictions["classes"][is_object, 0]
        return {"accuracy": float(correct.mean()), "iou": float(np.mean(losses.iou(true, predicted)))}

    def _examples(self, predictions: Mapping[str, np.ndarray], split: Split, quality: np.ndarray) -> Any:
        """Draw the worst, the best and random images, each with its objects and detections."""
        from cifar import plots

        order = np.argsort(quality, kind="stable")
        chosen = {"worst": order[:SHOWN], "best": order[: -SHOWN - 1 : -1],
                  "at random": np.random.default_rng(0).permutation(len(split))[:SHOWN]}  # fmt: skip

        def drawn(index: int, values: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
            return self.draw(split.images[index], {name: values[name][index] for name in names})

        rows = {
            name: [
                (drawn(index, split.targets, ("boxes", "classes")),
                 drawn(index, predictions, ("boxes", "classes", "scores")),
                 f"quality {quality[index]:.2f}\n{split.name(index)}")
                for index in indices
            ]
            for name, indices in chosen.items()
        }  # fmt: skip
        return plots.found_and_true(
            rows,
            f"Mean quality {quality.mean():.3f}: objects, and detections "
            f"with a score of at least {self.score_threshold:g}",
        )

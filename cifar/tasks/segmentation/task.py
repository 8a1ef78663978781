"""Semantic segmentation: a class for each pixel."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal

from cifar.config.registry import LOSSES, TASKS
from cifar.config.schema import NonNegativeFloat, PositiveInt, Rate
from cifar.interfaces import Dataset, Evaluation, Split, Task
from cifar.metrics.choices import measured
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras, np, tf
from cifar.runtime.terminal import number, table
from cifar.tasks.segmentation import decoders

if TYPE_CHECKING:
    Loss = str
else:
    Loss = LOSSES["segmentation"]
SHOWN = 5
"""Number of images in a figure of the best, the worst or random images."""


@TASKS.register
def segmentation(
    dataset: Dataset,
    *,
    head: Literal["unet", "deeplab"],
    width: PositiveInt,
    dropout: Rate,
    loss: Loss,
    focal_gamma: NonNegativeFloat,
    class_weights: Literal["none", "balanced"] | list[NonNegativeFloat],
) -> Segmentation:
    """Softmax over background and classes of the data set at each pixel, by a decoder on the backbone's feature maps.

    The weight of a class multiplies the cross-entropy of its pixels, whose mean is still over all pixels, and its Dice
    loss. The background's weight is the first. `balanced` weights are inverse to the class's frequency in the pixels of
    the training images, with a mean of 1 over these.
    """
    dataset.require_targets(*Segmentation.targets)
    class_names = ("background", *dataset.class_names)
    weights = _weights(class_weights, len(class_names), dataset.train)
    return Segmentation(class_names, head, width, dropout, loss, focal_gamma, weights)


def _weights(given: str | list[float], classes: int, train: Split) -> list[float]:
    """Return the weight of each class; raises `InputError`."""
    from cifar.metrics.segmentation import counts

    if given == "balanced":
        pixels = counts(train.targets["mask"], classes)
        shares = pixels * np.count_nonzero(pixels) / max(1, pixels.sum())
        return [1 / share if share else 0.0 for share in shares]
    if isinstance(given, str):
        return [1.0] * classes
    if len(given) != classes:
        raise InputError(
            f"task.class_weights={given}: should be {classes} numbers, one for the background and one for each class"
        )
    if not any(given):
        raise InputError(f"task.class_weights={given}: should have at least one above 0; otherwise nothing is learned")
    return given


class Segmentation(Task):
    """Targets `mask` (n, height, width) uint8; outputs (n, height, width, classes) float32 probabilities."""

    targets = ("mask",)
    metric_names = ("accuracy", "mean_iou")
    main_metric = "mean_iou"

    def __init__(
        self,
        class_names: tuple[str, ...],
        head: Literal["unet", "deeplab"] = "unet",
        width: int = 16,
        dropout: float = 0.0,
        loss: Loss = "cross_entropy",
        focal_gamma: float = 0.0,
        class_weights: list[float] | None = None,
    ):
        """`class_names` starts with the background."""
        self.class_names = class_names
        self.head = head
        self.width = width
        self.dropout = dropout
        self.kind = loss
        self.focal_gamma = focal_gamma
        self.class_weights = class_weights or [1.0] * len(class_names)

    def model(self, backbone):
        from cifar.nn import layers

        decoder = decoders.unet if self.head == "unet" else decoders.deeplab
        x = decoder(backbone, self.width, self.dropout)
        classify = layers.Conv2D(len(self.class_names), 1, activation="softmax", dtype="float32", name="probabilities")
        return keras.Model(backbone.input, classify(x), name=f"{backbone.name}_{self.head}")

    def encode(self, targets):
        return tf.cast(targets["mask"], tf.float32)

    def loss(self):
        return LOSSES["segmentation"].build(
            {"name": self.kind}, class_weights=self.class_weights, focal_gamma=self.focal_gamma
        )

    def metrics(self):
        from cifar.tasks.segmentation import losses

        classes = len(self.class_names)
        return [losses.Accuracy(classes, "accuracy"), losses.MeanIoU(classes, "mean_iou")]

    def predictions(self, outputs):
        return {"mask": outputs.argmax(axis=-1).astype(np.uint8)}

    def described_outputs(self):
        return {"probabilities": {"axes": ["image", "row", "column", "class"], "class": list(self.class_names),
                                  "unit": "probability; 1 for all classes of a pixel"}}  # fmt: skip

    def decode(self, predictions):
        from pycocotools import mask as coco

        def region(mask: np.ndarray, k: int) -> dict[str, Any]:
            encoded = coco.encode(np.asfortranarray(mask == k, dtype=np.uint8))
            return {"class": self.class_names[k], "share": float((mask == k).mean()),
                    "mask": {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}}  # fmt: skip

        def largest_first(mask: np.ndarray) -> np.ndarray:
            classes, pixels = np.unique(mask, return_counts=True)
            return classes[np.argsort(-pixels, kind="stable")]

        return [[region(mask, k) for k in largest_first(mask)] for mask in predictions["mask"]]

    def draw(self, image, annotations):
        from cifar.images import overlay

        return overlay.draw_mask(image, annotations["mask"], self.class_names[1:])

    def evaluate(self, predictions, split):
        from cifar import plots
        from cifar.metrics.segmentation import boundary_f1, confusion, mean, scores

        truth, predicted, classes = split.targets["mask"], predictions["mask"], len(self.class_names)
        matrix, images, boundaries = np.zeros((classes, classes), np.int64), [], []
        for true, prediction in zip(truth, predicted, strict=True):
            counts = confusion(true, prediction, classes)
            matrix += counts
            images.append((np.trace(counts) / max(1, counts.sum()), mean(scores(counts)["iou"])))
            boundaries.append(boundary_f1(true, prediction, classes))
        images, boundaries = np.array(images), np.array(boundaries)
        rows = self._rows(matrix, mean(boundaries, axis=0))
        report = {row["class"]: row for row in rows if not np.isnan(row["iou"])}
        return Evaluation(
            metrics=measured("segmentation", matrix=matrix, boundaries=boundaries),
            tables={
                "per_class.txt": table([list(rows[0]), *(map(_cell, row.values()) for row in rows)], columns=120),
                "per_class.csv": rows,
                "images.csv": [{"index": index, "image": split.name(index), "accuracy": round(float(right), 6),
                                "mean_iou": round(float(iou), 6)}
                               for index, (right, iou) in enumerate(images)],
            },
            figures={
                "confusion_matrix": lambda: plots.confusion_matrix(matrix, self.class_names, "pixels"),
                "per_class": lambda: plots.per_class_bars(report, list(report), "iou", "IoU", "pixels"),
                **self._pictures(split, predicted, images[:, 1]),
            },
        )  # fmt: skip

    def _rows(self, matrix: np.ndarray, boundaries: np.ndarray) -> list[dict[str, Any]]:
        """Return a row of metrics per class; `support` is its number of true pixels."""
        from cifar.metrics.segmentation import scores

        columns = {**scores(matrix), "boundary_f1": boundaries}
        return [
            {"class": name, **{column: round(float(values[k]), 6) for column, values in columns.items()},
             "support": int(matrix[k].sum())}
            for k, name in enumerate(self.class_names)
        ]  # fmt: skip

    def _pictures(self, split: Split, predicted: np.ndarray, iou: np.ndarray) -> dict[str, Any]:
        """Return figures of the images with the best and worst predictions, and of random ones."""
        from cifar import plots

        order = np.argsort(-np.nan_to_num(iou), kind="stable")
        chosen = {"best": order[:SHOWN], "worst": order[::-1][:SHOWN],
                  "random": np.random.default_rng(0).permutation(len(iou))[:SHOWN]}  # fmt: skip
        titles = {"best": "The best predictions", "worst": "The worst predictions", "random": "Random test images"}
        return {
            f"masks_{name}": functools.partial(
                plots.mask_sheet, split.images[index], split.targets["mask"][index], predicted[index],
                self.class_names[1:], [f"{split.name(number)}\nmean IoU {iou[number]:.3f}" for number in index],
                titles[name],
            )
            for name, index in chosen.items()
        }  # fmt: skip


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else number(value)

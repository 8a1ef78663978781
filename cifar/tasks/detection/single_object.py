"""Detection of one object per image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cifar.nn.blocks import convolution_block
from cifar.runtime.lazy import keras, np, tf
from cifar.tasks.detection.fcos import Grid, distances_of, output_convolution
from cifar.tasks.detection.fpn import pyramid


@dataclass(frozen=True)
class SingleObjectHead:
    """A head for one object per image; `grid` has one level; outputs and targets are described in `losses`."""

    classes: int
    grid: Grid
    fpn_channels: int
    head_depth: int
    box_loss: str
    box_weight: float
    metric_names = ("accuracy", "iou")

    def outputs(self, backbone: keras.Model) -> keras.KerasTensor:
        """Build the head: float32 (n, classes + 4).

        Each location predicts distances to the object's edges and an attention weight, by a softmax over locations. The
        box is the weighted mean, and so are the features that the class is predicted from. The position is the
        weighted mean of the locations (integral regression, Sun et al. 2018, arXiv:1711.08229).
        """
        (level,) = self.grid.levels
        (x,) = pyramid(backbone, self.grid.levels, self.fpn_channels)
        class_map = box_map = x
        for _ in range(self.head_depth):
            class_map, box_map = (
                convolution_block(class_map, self.fpn_channels),
                convolution_block(box_map, self.fpn_channels),
            )
        share = keras.layers.Softmax(axis=1, dtype="float32")(_flat(output_convolution(1, "share_logit")(box_map)))
        features = keras.ops.sum(share * _flat(class_map), axis=1)
        logits = keras.layers.Dense(self.classes, dtype="float32", name="class_logits")(features)
        edges = _flat(distances_of(output_convolution(4, "edges")(box_map), 2**level))
        distances = keras.ops.sum(share * edges, axis=1)
        center = self._mean_location(keras.layers.Reshape(x.shape[1:3], dtype="float32")(share))
        box = [center - distances[:, :2], center + distances[:, 2:]]
        return keras.layers.Concatenate(dtype="float32", name="box")([logits, *box])

    def _mean_location(self, share: keras.KerasTensor) -> keras.KerasTensor:
        """Convert attention weights (n, rows, columns) to the mean x and y in pixels, (n, 2)."""
        means = []
        for axis, (size, count) in enumerate(zip(self.grid.size[::-1], share.shape[:0:-1], strict=True)):
            middles = (np.arange(count, dtype=np.float32) + 0.5) * size / count
            along = keras.ops.sum(share, axis=1 + axis)
            means.append(keras.ops.sum(along * middles, axis=1, keepdims=True))
        return keras.layers.Concatenate(dtype="float32")(means)

    def encode(self, targets: Mapping[str, Any]) -> Any:
        """Encode targets: float32 (n, 5)."""
        from cifar.tasks.detection import losses

        is_object = (targets["classes"] >= 0) & ~targets["crowd"]
        number = tf.where(is_object, tf.cast(targets["classes"], tf.float32), float(losses.BACKGROUND))
        return tf.concat([number, targets["boxes"][:, 0]], axis=-1)

    def loss(self) -> keras.losses.Loss:
        from cifar.tasks.detection import losses

        return losses.SingleObjectLoss(self.box_loss, self.box_weight)

    def metrics(self) -> list[keras.metrics.Metric]:
        from cifar.tasks.detection import losses

        return losses.single_object_metrics()

    def predictions(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """One detection per image; the score is the probability of its class."""
        logits, (height, width) = outputs[:, None, :-4], self.grid.size
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities = odds / odds.sum(axis=-1, keepdims=True)
        edges = np.clip(outputs[:, None, -4:], 0, np.array([width, height, width, height], np.float32))
        return {"boxes": edges, "scores": probabilities.max(axis=-1), "classes": probabilities.argmax(axis=-1)}

    def detections(self, outputs: keras.KerasTensor) -> keras.KerasTensor:
        """The same for exported models, as rows (n, 1, 6): left, top, right, bottom, score and class."""
        ops, (height, width) = keras.ops, self.grid.size
        probabilities = ops.softmax(outputs[:, None, :-4], axis=-1)
        limits = np.array([width, height, width, height], np.float32)
        edges = ops.minimum(ops.maximum(outputs[:, None, -4:], 0.0), limits)
        score = ops.max(probabilities, axis=-1, keepdims=True)
        label = ops.cast(ops.argmax(probabilities, axis=-1), "float32")[..., None]
        return ops.concatenate([edges, score, label], axis=-1)


def _flat(x: keras.KerasTensor) -> keras.KerasTensor:
    """Reshape (n, rows, columns, channels) to float32 (n, locations, channels)."""
    return keras.layers.Reshape((-1, x.shape[-1]), dtype="float32")(x)

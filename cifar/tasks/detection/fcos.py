"""FCOS: detection of any number of objects per image (Tian et al. 2019, arXiv:1904.01355).

Each location of a feature pyramid predicts class scores, centerness and the distances to the edges of a box. With batch
normalization, and fewer convolutions than in the paper, for small images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cifar.nn.blocks import activated, normalized
from cifar.runtime.lazy import keras, np, tf
from cifar.tasks.detection.fpn import map_size, pyramid

RADIUS = 1.5
"""Center sampling: a location is positive for objects whose center is at most this many strides away on each axis."""
WIDE = 4
"""Minimum of width and height, in strides, of the objects assigned to a level other than the finest.

Every object then contains a location. FCOS assigns by the greatest distance to an edge, which leaves long thin objects
without one.
"""
MIN_SCORE = 0.05
"""Detections with a lower score are discarded."""
PRIOR = 0.01
"""Initial probability of every class at every location, as in Lin et al. 2017."""


@dataclass(frozen=True)
class Grid:
    """Locations of all levels of a feature pyramid, level by level, row by row."""

    size: tuple[int, int]
    """(height, width) of an image."""
    levels: Sequence[int]

    def locations(self) -> np.ndarray:
        """Return x and y in pixels: float32 (locations, 2)."""
        results = []
        for level in self.levels:
            rows, columns = map_size(self.size, level)
            y, x = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
            results.append(np.stack([x * self.size[1] / columns, y * self.size[0] / rows], axis=-1).reshape(-1, 2))
        return np.concatenate(results).astype(np.float32)

    def of_level(self, values: Sequence[float]) -> np.ndarray:
        """Repeat a value per level for the level's locations: float32 (locations,)."""
        counts = [math.prod(map_size(self.size, level)) for level in self.levels]
        return np.repeat(np.asarray(values, np.float32), counts)


@dataclass(frozen=True)
class FCOSHead:
    """The head of FCOS on the locations of `grid`; outputs and targets are described in `losses`."""

    classes: int
    grid: Grid
    fpn_channels: int
    head_depth: int
    box_loss: str
    box_weight: float
    focal_gamma: float
    focal_alpha: float
    nms_iou_threshold: float
    max_detections: int
    metric_names = ("positive_accuracy", "iou")

    def outputs(self, backbone: keras.Model) -> keras.KerasTensor:
        """Build the head: float32 (n, locations, classes + 5)."""
        maps = pyramid(backbone, self.grid.levels, self.fpn_channels)
        class_maps, box_maps = (self._tower(maps) for _ in ("classes", "boxes"))
        prior = keras.initializers.Constant(-math.log((1 - PRIOR) / PRIOR))
        logits = output_convolution(self.classes, "class_logits", prior)
        center, edges = output_convolution(1, "centre_logit"), output_convolution(4, "edges")
        results = []
        for level, of_class, of_box in zip(self.grid.levels, class_maps, box_maps, strict=True):
            distances = distances_of(edges(of_box), 2**level)
            x = keras.layers.Concatenate(dtype="float32")([logits(of_class), center(of_box), distances])
            results.append(keras.layers.Reshape((-1, self.classes + 5), dtype="float32")(x))
        return keras.layers.Concatenate(axis=1, dtype="float32", name="found")(results)

    def _tower(self, maps: Sequence[keras.KerasTensor]) -> Sequence[keras.KerasTensor]:
        """Convolutions shared by all levels, each with a normalization per level."""
        from cifar.nn import layers

        for _ in range(self.head_depth):
            shared = layers.Conv2D(self.fpn_channels, 3, padding="same", use_bias=False, kernel_initializer="he_normal")
            maps = [normalized(shared(x)) for x in maps]
            maps = [activated(x, "relu") for x in maps]
        return maps

    def encode(self, targets: Mapping[str, Any]) -> Any:
        """Encode targets: float32 (n, locations, 5).

        A location is assigned the smallest object that contains it, has a center nearby (`RADIUS`) and a size of its
        level (`WIDE`). Without such an object it is `IGNORE` in a crowd, `BACKGROUND` elsewhere.
        """
        from cifar.tasks.detection import losses

        locations, strides = self.grid.locations(), self.grid.of_level([2**level for level in self.grid.levels])
        bounds = [WIDE * 2**level for level in self.grid.levels[1:]]
        minimum, maximum = self.grid.of_level([0, *bounds]), self.grid.of_level([*bounds, np.inf])
        edges = targets["boxes"][:, None]  # (n, 1, objects, 4)
        distance_to_edges = tf.concat(
            [locations[:, None] - edges[..., :2], edges[..., 2:] - locations[:, None]], axis=-1
        )
        inside = (tf.reduce_min(distance_to_edges, axis=-1) > 0) & (targets["classes"] >= 0)[:, None]
        crowd = targets["crowd"][:, None]
        off = tf.reduce_max(tf.abs(distance_to_edges[..., :2] - distance_to_edges[..., 2:]) / 2, axis=-1)
        sides = edges[..., 2:] - edges[..., :2]
        shorter, area = tf.reduce_min(sides, axis=-1), tf.reduce_prod(sides, axis=-1)
        of_level = (shorter >= minimum[:, None]) & (shorter < maximum[:, None])
        candidates = inside & ~crowd & of_level & (off <= RADIUS * strides[:, None])
        chosen = tf.argmin(tf.where(candidates, area, np.inf), axis=2)
        number = tf.cast(tf.gather(targets["classes"], chosen, batch_dims=1), tf.float32)
        negative = tf.where(tf.reduce_any(inside & crowd, axis=2), float(losses.IGNORE), float(losses.BACKGROUND))
        is_positive = tf.reduce_any(candidates, axis=2)
        distances = tf.where(is_positive[..., None], tf.gather(distance_to_edges, chosen, batch_dims=2), 0.0)
        return tf.concat([tf.where(is_positive, number, negative)[..., None], distances], axis=-1)

    def loss(self) -> keras.losses.Loss:
        from cifar.tasks.detection import losses

        return losses.FCOSLoss(self.box_loss, self.box_weight, self.focal_gamma, self.focal_alpha)

    def metrics(self) -> list[keras.metrics.Metric]:
        from cifar.tasks.detection import losses

        return losses.location_metrics()

    def predictions(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Detections after non-maximum suppression within each class, highest score first.

        The score is the product of the class's probability and the centerness.
        """
        with tf.device("cpu"):
            outputs = tf.constant(outputs)
            scores = tf.sigmoid(outputs[..., :-5]) * tf.sigmoid(outputs[..., -5:-4])
            locations, height, width = self.grid.locations(), *self.grid.size
            edges = tf.concat([locations - outputs[..., -4:-2], locations + outputs[..., -2:]], axis=-1)
            edges = tf.clip_by_value(edges, 0.0, tf.constant([width, height, width, height], tf.float32))
            results = tf.image.combined_non_max_suppression(
                edges[:, :, None],
                scores,
                max_output_size_per_class=self.max_detections,
                max_total_size=self.max_detections,
                iou_threshold=self.nms_iou_threshold,
                score_threshold=MIN_SCORE,
                clip_boxes=False,
            )
        valid = np.arange(self.max_detections) < results.valid_detections.numpy()[:, None]
        numbers = np.where(valid, results.nmsed_classes.numpy(), -1).astype(np.int64)
        return {"boxes": results.nmsed_boxes.numpy(), "scores": results.nmsed_scores.numpy(), "classes": numbers}

    def detections(self, outputs: keras.KerasTensor) -> keras.KerasTensor:
        """The same for exported models, as rows (n, `max_detections`, 6): left, top, right, bottom, score and class."""
        from cifar.tasks.detection.suppression import suppressed

        ops, locations, (height, width) = keras.ops, self.grid.locations(), self.grid.size
        scores = ops.sigmoid(outputs[..., :-5]) * ops.sigmoid(outputs[..., -5:-4])
        first, last = ops.subtract(locations, outputs[..., -4:-2]), ops.add(locations, outputs[..., -2:])
        edges = ops.concatenate([first, last], axis=-1)
        boxes = ops.minimum(ops.maximum(edges, 0.0), np.array([width, height, width, height], np.float32))
        return suppressed(boxes, scores, self.nms_iou_threshold, MIN_SCORE, self.max_detections)


def output_convolution(filters: int, name: str, bias: Any = "zeros") -> keras.layers.Layer:
    """Return the last layer of a head, in float32."""
    from cifar.nn import layers

    small = keras.initializers.RandomNormal(stddev=0.01)
    return layers.Conv2D(
        filters, 3, padding="same", kernel_initializer=small, bias_initializer=bias, dtype="float32", name=name
    )


def distances_of(x: keras.KerasTensor, stride: int) -> keras.KerasTensor:
    """Convert logarithms of distances in strides to distances in pixels."""
    x = keras.layers.Activation("exponential", dtype="float32")(x)
    return keras.layers.Rescaling(stride, dtype="float32")(x)

"""Losses and training metrics of detection.

A box is left, top, right, bottom in pixels. Targets and outputs are:

- of `FCOSHead`: `y_true` (n, locations, 5) has the class of the assigned object, `BACKGROUND` or `IGNORE`, and the
  distances to the left, top, right and bottom of its box; `y_pred` (n, locations, classes + 5) has logits of the
  classes, a logit of the centerness, and the distances;
- of `SingleObjectHead`: `y_true` (n, 5) has class, or `BACKGROUND`, and box; `y_pred` (n, classes + 4) logits and box.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
from keras import ops

from cifar.config.registry import LOSSES

BACKGROUND, IGNORE = -1, -2
"""Values instead of a class: no object; ignored by the loss."""
TINY = 1e-7


def iou(true, predicted):
    """Intersection over union of each box of `true` (…, 4) and the box of `predicted` at the same position: (…).

    `keras.utils.bounding_boxes.compute_iou` computes the same for all pairs.
    """
    intersection, union = _areas(true, predicted)
    return intersection / (union + TINY)


def giou_loss(true, predicted):
    """1 minus the generalized IoU: Rezatofighi et al. 2019, arXiv:1902.09630."""
    intersection, union = _areas(true, predicted)
    enclosing = _area(_hull(true, predicted))
    return 1 - intersection / (union + TINY) + (enclosing - union) / (enclosing + TINY)


def diou_loss(true, predicted):
    """1 minus IoU, plus the squared distance of the centers over that of the hull's diagonal: arXiv:1911.08287."""
    hull = _hull(true, predicted)
    apart = ops.sum(ops.square(_center(true) - _center(predicted)), axis=-1)
    return 1 - iou(true, predicted) + apart / (ops.sum(ops.square(_sides(hull)), axis=-1) + TINY)


def ciou_loss(true, predicted):
    """`diou_loss` plus a term for the difference of aspect ratios: Zheng et al. 2020, arXiv:1911.08287.

    As in the paper, and unlike `keras.utils.bounding_boxes.compute_ciou`, the factor `share` has no gradient.
    """
    angle = _angle(true) - _angle(predicted)
    difference = 4 / math.pi**2 * ops.square(angle)
    share = ops.stop_gradient(difference / (1 - iou(true, predicted) + difference + TINY))
    return diou_loss(true, predicted) + share * difference


def smooth_l1_loss(true, predicted, beta: float = 0.1):
    """Mean smooth L1 over the four edges, in units of the true box's size (Girshick 2015, arXiv:1504.08083).

    `keras.losses.Huber` of the scaled boxes, divided by `beta`, differs in the last bits.
    """
    size = ops.sqrt(ops.maximum(_area(true), TINY))
    away = ops.abs(predicted - true) / size[..., None]
    smooth = ops.where(away < beta, 0.5 * ops.square(away) / beta, away - 0.5 * beta)
    return ops.mean(smooth, axis=-1)


class FCOSLoss(keras.losses.Loss):
    """Focal loss of classes plus box loss plus cross-entropy of centerness: one value per image.

    As in FCOS (Tian et al. 2019, arXiv:1904.01355), but normalized by the positive locations of an image, not of the
    batch, so that the loss does not depend on how a batch is divided. Boxes are weighted by centerness.
    """

    def __init__(self, box_loss: str, box_weight: float, gamma: float, alpha: float):
        super().__init__(name="of_places")
        self._box_loss = LOSSES["detection"].build({"name": box_loss})
        self._box_weight, self._gamma, self._alpha = box_weight, gamma, alpha

    def call(self, y_true, y_pred):
        logits, center_logit, predicted = _parts(y_pred)
        number, true = y_true[..., 0], y_true[..., 1:]
        is_object = ops.cast(number >= 0, "float32")
        known = ops.cast(number > IGNORE, "float32")
        count = ops.maximum(ops.sum(is_object, axis=1), 1)
        expected = ops.one_hot(ops.cast(number, "int32"), logits.shape[-1])
        classes = ops.sum(focal_loss(expected, logits, self._gamma, self._alpha), axis=-1)
        center = centerness(true) * is_object
        center_loss = is_object * (ops.softplus(center_logit) - center * center_logit)
        box = center * self._box_loss(corners(true), corners(predicted))
        return ops.sum(known * classes + center_loss, axis=1) / count + self._box_weight * ops.sum(
            box, axis=1
        ) / ops.maximum(ops.sum(center, axis=1), TINY)


class SingleObjectLoss(keras.losses.Loss):
    """Cross-entropy of the class plus box loss, for images with an object."""

    def __init__(self, box_loss: str, box_weight: float):
        super().__init__(name="of_one_box")
        self._box_loss, self._box_weight = LOSSES["detection"].build({"name": box_loss}), box_weight

    def call(self, y_true, y_pred):
        logits, predicted = y_pred[..., :-4], y_pred[..., -4:]
        number = y_true[..., 0]
        expected = ops.one_hot(ops.cast(number, "int32"), logits.shape[-1])  # all zeros without an object
        box = ops.cast(number >= 0, "float32") * self._box_loss(y_true[..., 1:], predicted)
        return self._box_weight * box - ops.sum(expected * ops.log_softmax(logits), axis=-1)


class ForegroundMean(keras.metrics.Mean):
    """Mean of `measure(y_true, y_pred)` over the locations, or images, with an object."""

    def __init__(self, name: str, measure: Callable):
        super().__init__(name)
        self._measure = measure

    def update_state(self, y_true, y_pred, sample_weight=None):
        is_object = ops.cast(y_true[..., 0] >= 0, "float32")
        return super().update_state(self._measure(y_true, y_pred), is_object)


def location_metrics() -> list[keras.metrics.Metric]:
    """Accuracy of the class and mean IoU of the boxes at positive locations."""
    return [
        ForegroundMean("positive_accuracy", lambda true, predicted: _is_right(true, predicted[..., :-5])),
        ForegroundMean("iou", lambda true, predicted: iou(corners(true[..., 1:]), corners(predicted[..., -4:]))),
    ]


def single_object_metrics() -> list[keras.metrics.Metric]:
    """Accuracy of the class and mean IoU of the boxes."""
    return [
        ForegroundMean("accuracy", lambda true, predicted: _is_right(true, predicted[..., :-4])),
        ForegroundMean("iou", lambda true, predicted: iou(true[..., 1:], predicted[..., -4:])),
    ]


def focal_loss(expected, logits, gamma: float, alpha: float):
    """Focal loss of each class, without reduction: Lin et al. 2017, arXiv:1708.02002.

    `keras.losses.BinaryFocalCrossentropy` computes it from probabilities and differs by 2e-6.
    """
    margin = ops.where(expected > 0, logits, -logits)
    balance = ops.where(expected > 0, alpha, 1 - alpha)
    return balance * ops.exp(-gamma * ops.softplus(margin)) * ops.softplus(-margin)


def centerness(distances):
    """Centerness, 1 at the center of the box and 0 at its edges, from distances (…, 4): (…)."""
    near = ops.minimum(distances[..., :2], distances[..., 2:])
    far = ops.maximum(distances[..., :2], distances[..., 2:])
    return ops.sqrt(ops.prod(ops.maximum(near, 0) / ops.maximum(far, TINY), axis=-1))


def corners(distances):
    """Return the box with these distances from a location, relative to the location."""
    return ops.concatenate([-distances[..., :2], distances[..., 2:]], axis=-1)


def _parts(y_pred):
    return y_pred[..., :-5], y_pred[..., -5], y_pred[..., -4:]


def _is_right(y_true, logits):
    return ops.cast(ops.cast(ops.argmax(logits, axis=-1), "float32") == y_true[..., 0], "float32")


def _sides(box):
    return box[..., 2:] - box[..., :2]


def _area(box):
    return ops.prod(ops.maximum(_sides(box), 0), axis=-1)


def _center(box):
    return (box[..., :2] + box[..., 2:]) / 2


def _angle(box):
    sides = _sides(box)
    return ops.arctan2(sides[..., 0], ops.maximum(sides[..., 1], TINY))


def _hull(a, b):
    return ops.concatenate([ops.minimum(a[..., :2], b[..., :2]), ops.maximum(a[..., 2:], b[..., 2:])], axis=-1)


def _areas(a, b):
    """Return the areas of intersection and union."""
    intersection = _area(
        ops.concatenate([ops.maximum(a[..., :2], b[..., :2]), ops.minimum(a[..., 2:], b[..., 2:])], axis=-1)
    )
    return intersection, _area(a) + _area(b) - intersection

"""Boxes that a model finds: how far they are from those that are there, and what a training minimizes of it.

A box is left, top, right, bottom in pixels. Two kinds of targets and outputs are spoken of:

- of places: `y_true` (n, places, 5) has for each place the number of the class of the object it is to find,
  `BACKGROUND`, or `IGNORE`, and how far it is from the left, top, right and bottom of that object's box; `y_pred`
  (n, places, classes + 5) logits of the classes, a logit of how central the place is, and the distances;
- of one box an image: `y_true` (n, 5) has class, or `BACKGROUND`, and box; `y_pred` (n, classes + 4) logits and box.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
from keras import ops

from cifar.config.registry import LOSSES

BACKGROUND, IGNORE = -1, -2
"""In place of a class: there is no object; nobody can say whether there is one, so that nothing is learned."""
TINY = 1e-7


def iou(true, found):
    """Intersection over union of each box of `true` (…, 4) and its like in `found`: (…).

    `keras.utils.bounding_boxes.compute_iou`, which is equal, computes that of all pairs.
    """
    both, either = _areas(true, found)
    return both / (either + TINY)


def giou_loss(true, found):
    """1 minus the generalized IoU: Rezatofighi et al. 2019, arXiv:1902.09630."""
    both, either = _areas(true, found)
    around = _area(_hull(true, found))
    return 1 - both / (either + TINY) + (around - either) / (around + TINY)


def diou_loss(true, found):
    """1 minus IoU, and the squared distance of the locations as a share of the hull's diagonal: arXiv:1911.08287."""
    hull = _hull(true, found)
    apart = ops.sum(ops.square(_center(true) - _center(found)), axis=-1)
    return 1 - iou(true, found) + apart / (ops.sum(ops.square(_sides(hull)), axis=-1) + TINY)


def ciou_loss(true, found):
    """`diou_loss`, and how different the aspect ratios are: Zheng et al. 2020, arXiv:1911.08287.

    As in the paper, and unlike in `keras.utils.bounding_boxes.compute_ciou`, the factor `share` has no gradient.
    """
    angle = _angle(true) - _angle(found)
    difference = 4 / math.pi**2 * ops.square(angle)
    share = ops.stop_gradient(difference / (1 - iou(true, found) + difference + TINY))
    return diou_loss(true, found) + share * difference


def smooth_l1_loss(true, found, beta: float = 0.1):
    """Mean over the four edges, in units of the true box's size, of Girshick's smooth L1 (2015, arXiv:1504.08083).

    `keras.losses.Huber` of the scaled boxes, divided by `beta`, differs in the last bits and saves no line.
    """
    size = ops.sqrt(ops.maximum(_area(true), TINY))
    away = ops.abs(found - true) / size[..., None]
    smooth = ops.where(away < beta, 0.5 * ops.square(away) / beta, away - 0.5 * beta)
    return ops.mean(smooth, axis=-1)


class FCOSLoss(keras.losses.Loss):
    """Focal loss of the classes, loss of the boxes and cross-entropy of centerness: one sum an image.

    As in FCOS (Tian et al. 2019, arXiv:1904.01355), but divided by the places with an object of the image, not of all
    images, so that a batch has the same loss in parts. Boxes count by how central their place is.
    """

    def __init__(self, box_loss: str, box_weight: float, gamma: float, alpha: float):
        super().__init__(name="of_places")
        self._box_loss = LOSSES["detection"].build({"name": box_loss})
        self._box_weight, self._gamma, self._alpha = box_weight, gamma, alpha

    def call(self, y_true, y_pred):
        logits, center_logit, found = _parts(y_pred)
        number, true = y_true[..., 0], y_true[..., 1:]
        there = ops.cast(number >= 0, "float32")
        known = ops.cast(number > IGNORE, "float32")
        count = ops.maximum(ops.sum(there, axis=1), 1)
        wanted = ops.one_hot(ops.cast(number, "int32"), logits.shape[-1])
        classes = ops.sum(focal_loss(wanted, logits, self._gamma, self._alpha), axis=-1)
        center = centerness(true) * there
        center_loss = there * (ops.softplus(center_logit) - center * center_logit)
        box = center * self._box_loss(corners(true), corners(found))
        return ops.sum(known * classes + center_loss, axis=1) / count + self._box_weight * ops.sum(
            box, axis=1
        ) / ops.maximum(ops.sum(center, axis=1), TINY)


class SingleObjectLoss(keras.losses.Loss):
    """Cross-entropy of the class and loss of the box, of images that have an object."""

    def __init__(self, box_loss: str, box_weight: float):
        super().__init__(name="of_one_box")
        self._box_loss, self._box_weight = LOSSES["detection"].build({"name": box_loss}), box_weight

    def call(self, y_true, y_pred):
        logits, found = y_pred[..., :-4], y_pred[..., -4:]
        number = y_true[..., 0]
        wanted = ops.one_hot(ops.cast(number, "int32"), logits.shape[-1])  # of no object, all zeros
        box = ops.cast(number >= 0, "float32") * self._box_loss(y_true[..., 1:], found)
        return self._box_weight * box - ops.sum(wanted * ops.log_softmax(logits), axis=-1)


class ForegroundMean(keras.metrics.Mean):
    """The mean of `measure(y_true, y_pred)` over the places, or images, that have an object."""

    def __init__(self, name: str, measure: Callable):
        super().__init__(name)
        self._measure = measure

    def update_state(self, y_true, y_pred, sample_weight=None):
        there = ops.cast(y_true[..., 0] >= 0, "float32")
        return super().update_state(self._measure(y_true, y_pred), there)


def place_metrics() -> list[keras.metrics.Metric]:
    """Of the places with an object: the share whose likeliest class is right, and the mean IoU of their boxes."""
    return [
        ForegroundMean("positive_accuracy", lambda true, found: _is_right(true, found[..., :-5])),
        ForegroundMean("iou", lambda true, found: iou(corners(true[..., 1:]), corners(found[..., -4:]))),
    ]


def one_box_metrics() -> list[keras.metrics.Metric]:
    """The share of images whose class is right, and the mean IoU of their boxes."""
    return [
        ForegroundMean("accuracy", lambda true, found: _is_right(true, found[..., :-4])),
        ForegroundMean("iou", lambda true, found: iou(true[..., 1:], found[..., -4:])),
    ]


def focal_loss(wanted, logits, gamma: float, alpha: float):
    """Cross-entropy of each class alone, less for what is certain: Lin et al. 2017, arXiv:1708.02002. Same shape.

    `keras.losses.BinaryFocalCrossentropy` goes through probabilities, and differs by 2e-6.
    """
    margin = ops.where(wanted > 0, logits, -logits)
    balance = ops.where(wanted > 0, alpha, 1 - alpha)
    return balance * ops.exp(-gamma * ops.softplus(margin)) * ops.softplus(-margin)


def centerness(distances):
    """1 for a place in the middle of its box, 0 at the edge; of distances (…, 4): (…)."""
    near = ops.minimum(distances[..., :2], distances[..., 2:])
    far = ops.maximum(distances[..., :2], distances[..., 2:])
    return ops.sqrt(ops.prod(ops.maximum(near, 0) / ops.maximum(far, TINY), axis=-1))


def corners(distances):
    """The box about a place that has such distances from its edges, seen from the place."""
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
    """Of the intersection and of the union."""
    both = _area(ops.concatenate([ops.maximum(a[..., :2], b[..., :2]), ops.minimum(a[..., 2:], b[..., 2:])], axis=-1))
    return both, _area(a) + _area(b) - both

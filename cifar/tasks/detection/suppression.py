"""Non-maximum suppression by elementary operations, for exported models: every format and runtime has them.

TensorFlow's `combined_non_max_suppression`, which evaluates a run, exists neither in LiteRT nor in ONNX.
"""

from __future__ import annotations

from typing import Any

from cifar.runtime.lazy import keras, np

CANDIDATES = 512
"""Pairs of a location and a class, those with the highest scores, among which detections are chosen."""
ROUNDS = 16
"""Chains in which a box suppresses a box that would have suppressed another are followed so far."""


def suppressed(boxes: Any, scores: Any, iou_threshold: float, score_threshold: float, most: int) -> Any:
    """Return the detections of `boxes` (n, locations, 4) with `scores` (n, locations, classes): (n, most, 6).

    Columns are left, top, right, bottom, score and class; the highest score comes first. Rows without a detection have
    a score of 0 and the class -1. All rounds of suppression at once, as in Cluster-NMS (Zheng et al. 2020,
    arXiv:2005.03572), choose the same boxes as one after the other.
    """
    ops = keras.ops
    classes, pairs = scores.shape[-1], scores.shape[1] * scores.shape[2]
    score, index = ops.top_k(ops.reshape(scores, (-1, pairs)), min(CANDIDATES, pairs))
    index = ops.cast(index, "int32")
    label = ops.cast(index % classes, "float32")
    edges = _taken(boxes, index // classes)
    rank = ops.cast(index, "float32")  # of equal scores, the first one suppresses
    earlier = ops.logical_and(_pairs(ops.equal, score), _pairs(ops.less, rank))
    first = ops.logical_or(_pairs(ops.greater, score), earlier)
    overlapping = ops.logical_and(_pairs(ops.equal, label), _overlap(edges, iou_threshold))
    suppresses = ops.cast(ops.logical_and(first, overlapping), "float32")
    candidates = ops.cast(score > score_threshold, "float32")
    kept = candidates
    for _ in range(ROUNDS):
        kept = candidates * (1 - ops.max(suppresses * kept[:, :, None], axis=1))
    return _best(ops.concatenate([edges, score[..., None], label[..., None]], axis=-1), score * kept, most)


def counted(detections: Any) -> dict[str, Any]:
    """Return `detections` (n, most, 6) with the number of those that are no padding, int32 (n,), as `count`."""
    found = keras.ops.cast(detections[..., 5] >= 0, "int32")
    return {"detections": detections, "count": keras.ops.sum(found, axis=1)}


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The maximum difference of 99 % of the detections to the nearest one of their class in the other array.

    It is relative to the greatest value. Rounding decides which of two nearly equal boxes or scores is chosen, so that
    1 % may differ. The arrays are (n, most, 6); where classes are missing, the difference is infinite.
    """
    apart = [_to_nearest(*pair) for one, other in zip(found, expected, strict=True)
             for pair in ((one, other), (other, one))]  # fmt: skip
    distances = np.concatenate([*apart, np.zeros(1)])
    return float(np.quantile(distances, 0.99, method="higher")) / max(1.0, float(np.abs(expected).max()))


def _to_nearest(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each detection in `rows` (most, 6), the maximum difference to the nearest one in `others`."""
    rows, others = (array[array[:, 5] >= 0] for array in (rows, others))
    if not len(others):
        return np.full(len(rows), np.inf)
    apart = np.abs(rows[:, None] - others[None]).max(axis=-1)
    return np.where(rows[:, None, 5] == others[None, :, 5], apart, np.inf).min(axis=1)


def _best(rows: Any, scores: Any, most: int) -> Any:
    """The `most` rows (n, candidates, 6) with the highest scores above 0; others are padding."""
    ops = keras.ops
    score, index = ops.top_k(scores, min(most, scores.shape[-1]))
    is_found = (score > 0)[..., None]
    rows = ops.where(is_found, _taken(rows, ops.cast(index, "int32")), 0.0)
    rows = ops.concatenate([rows[..., :5], ops.where(is_found, rows[..., 5:], -1.0)], axis=-1)
    missing = most - rows.shape[1]
    if missing > 0:
        padding = ops.concatenate([ops.zeros_like(rows[:, :1, :5]), -ops.ones_like(rows[:, :1, :1])], axis=-1)
        rows = ops.concatenate([rows, ops.repeat(padding, missing, axis=1)], axis=1)
    return rows


def _taken(rows: Any, index: Any) -> Any:
    """Rows (n, m, columns) at `index` int32 (n, k): (n, k, columns). `take_along_axis` has no form in LiteRT."""
    ops = keras.ops
    image = ops.cumsum(ops.ones_like(index[:, :1]), axis=0) - 1
    return ops.take(ops.reshape(rows, (-1, rows.shape[-1])), index + image * rows.shape[1], axis=0)


def _pairs(operation: Any, x: Any) -> Any:
    """`operation` of each two entries of each row of `x` (n, k): (n, k, k)."""
    return operation(x[:, :, None], x[:, None, :])


def _overlap(boxes: Any, iou_threshold: float) -> Any:
    """True where two boxes of an image (n, k, 4) have an intersection over union above the threshold: (n, k, k)."""
    ops = keras.ops
    left, top, right, bottom = (boxes[..., edge] for edge in range(4))
    width = ops.maximum(_pairs(ops.minimum, right) - _pairs(ops.maximum, left), 0.0)
    height = ops.maximum(_pairs(ops.minimum, bottom) - _pairs(ops.maximum, top), 0.0)
    area = (right - left) * (bottom - top) * iou_threshold
    # TensorFlow Lite's converter (2.21) fails at the sum of the areas of each two boxes.
    return width * height * (1 + iou_threshold) - area[:, :, None] > area[:, None, :]

"""Boxes in images: moving objects' boxes with their image, and masks of the pixels in a box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cifar.runtime.lazy import tf

if TYPE_CHECKING:
    from tensorflow import Tensor


MIN_VISIBLE = 0.25
"""An object stays a target if at least this share of its box is in the image."""

PADDING = {"boxes": 0.0, "classes": -1, "crowd": False}
"""The targets of objects, each with the value for no object."""


def move_boxes(objects: Mapping[str, Tensor], matrix: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
    """Move the targets `objects` of images of `size` (height, width) as `matrix` (n, 3, 3) moves the images.

    A box becomes the smallest that contains its four moved corners, clipped to the image. Objects of which less than
    `MIN_VISIBLE` remains become padding.
    """
    height, width = size
    middle = tf.constant([width / 2, height / 2, width / 2, height / 2])
    left, top, right, bottom = tf.unstack(objects["boxes"] - middle, axis=-1)
    ones = tf.ones_like(left)
    corners = [tf.stack([x, y, ones], axis=-1) for x in (left, right) for y in (top, bottom)]
    # The matrix maps output to input; corners move from input to output.
    inverse = tf.linalg.inv(matrix)
    moved = tf.stack([tf.linalg.matmul(corner, inverse, transpose_b=True)[..., :2] for corner in corners])
    boxes = tf.concat([tf.reduce_min(moved, axis=0), tf.reduce_max(moved, axis=0)], axis=-1) + middle
    clipped = tf.clip_by_value(boxes, 0.0, tf.constant([width, height, width, height], tf.float32))
    visible = tf.math.divide_no_nan(_area(clipped), _area(boxes)) >= MIN_VISIBLE
    keep = (objects["classes"] >= 0) & visible
    return {name: tf.where(keep[..., None] if name == "boxes" else keep, values, tf.cast(PADDING[name], values.dtype))
            for name, values in {**objects, "boxes": clipped}.items()}  # fmt: skip


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def box_mask(top: Tensor, left: Tensor, height: Any, width: Any, size: tuple[int, int]) -> Tensor:
    """Mask the pixels in one box per image of `size` (height, width): bool (n, height, width, 1).

    `top`, `left`, `height` and `width` are pixels, float32 (n,); the latter two may be one number for all.
    """

    def between(first, length, pixels):
        centers = tf.range(pixels, dtype=tf.float32) + 0.5
        return (centers >= first[:, None]) & (centers < (first + length)[:, None])

    rows, columns = between(top, height, size[0]), between(left, width, size[1])
    return rows[:, :, None, None] & columns[:, None, :, None]

"""Boxes within images: of choices that cut, and of objects, which move with the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cifar.runtime.lazy import tf

if TYPE_CHECKING:
    from tensorflow import Tensor


LEAST_VISIBLE = 0.25
"""An object of whose box less than this share is left in the image is no longer a target."""

ABSENT = {"boxes": 0.0, "classes": -1, "crowd": False}
"""The targets that speak of objects, with the value that stands for none."""


def moved(objects: Mapping[str, Tensor], matrix: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
    """`objects`, targets of images of `size` (height, width), after the images were seen through `matrix` (n, 3, 3).

    A box becomes the smallest that holds its four moved corners, cut off at the image's edge. Those that hardly remain
    visible are absent.
    """
    height, width = size
    middle = tf.constant([width / 2, height / 2, width / 2, height / 2])
    left, top, right, bottom = tf.unstack(objects["boxes"] - middle, axis=-1)
    ones = tf.ones_like(left)
    corners = [tf.stack([x, y, ones], axis=-1) for x in (left, right) for y in (top, bottom)]
    # The matrix tells where a pixel comes from; a corner asks where it goes.
    back = tf.linalg.inv(matrix)
    places = tf.stack([tf.linalg.matmul(corner, back, transpose_b=True)[..., :2] for corner in corners])
    boxes = tf.concat([tf.reduce_min(places, axis=0), tf.reduce_max(places, axis=0)], axis=-1) + middle
    cut = tf.clip_by_value(boxes, 0.0, tf.constant([width, height, width, height], tf.float32))
    seen = tf.math.divide_no_nan(_area(cut), _area(boxes)) >= LEAST_VISIBLE
    there = (objects["classes"] >= 0) & seen
    kept = {**objects, "boxes": cut}
    return {name: tf.where(there[..., None] if name == "boxes" else there, values, tf.cast(ABSENT[name], values.dtype))
            for name, values in kept.items()}  # fmt: skip


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def inside(top: Tensor, left: Tensor, height: Any, width: Any, size: tuple[int, int]) -> Tensor:
    """Which pixels of images of `size` (height, width) lie in a box of each: bool (n, height, width, 1).

    A box is given in pixels, float32 (n,), or one number for all.
    """

    def between(first, length, pixels):
        place = tf.range(pixels, dtype=tf.float32) + 0.5
        return (place >= first[:, None]) & (place < (first + length)[:, None])

    rows, columns = between(top, height, size[0]), between(left, width, size[1])
    return rows[:, :, None, None] & columns[:, None, :, None]

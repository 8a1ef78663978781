"""Boxes within images, for choices that cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cifar.lazy import tf

if TYPE_CHECKING:
    from tensorflow import Tensor


def inside(top: Tensor, left: Tensor, height: Any, width: Any, size: tuple[int, int]) -> Tensor:
    """Which pixels of images of `size` (height, width) lie in a box of each: bool (n, height, width, 1).

    A box is given in pixels, float32 (n,), or one number for all.
    """

    def between(first, length, pixels):
        place = tf.range(pixels, dtype=tf.float32) + 0.5
        return (place >= first[:, None]) & (place < (first + length)[:, None])

    rows, columns = between(top, height, size[0]), between(left, width, size[1])
    return rows[:, :, None, None] & columns[:, None, :, None]

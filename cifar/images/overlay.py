"""Boxes and masks drawn on images, with the names of their classes: pixels in, pixels out."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cifar.interfaces import VOID
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SMALL = 384
"""Pixels: an image whose sides are shorter is enlarged, so that lines and names have room."""
TINT = 0.45
"""How much of a mask's color goes over the image."""
NAMED = 0.005
"""The share of an image that a region of its mask has at least whose name is written on it."""

Color = tuple[int, int, int]

INFERNO: tuple[Color, ...] = (
    (0, 0, 4), (22, 11, 57), (66, 10, 104), (106, 23, 110), (147, 38, 103), (188, 55, 84), (221, 81, 58),
    (243, 120, 25), (252, 165, 10), (246, 215, 70), (252, 255, 164),
)  # fmt: skip
"""Colors of 0, 0.1, … 1, whose steps look equally large: matplotlib's `inferno`, and near it in between."""
GLOW = 0.5
"""How much of the color of heat goes over the image."""


def boxes_on(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    class_names: Sequence[str],
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """`image` uint8 (height, width, 1 or 3) with boxes (k, 4) in its pixels, each with its class (-1: none) and score.

    Returns uint8 (height, width, 3), enlarged by a whole number where the image is small.
    """
    from PIL import Image, ImageDraw

    canvas, factor = _enlarged(image)
    picture = Image.fromarray(canvas)
    draw, line = ImageDraw.Draw(picture), _line(canvas)
    height, width = canvas.shape[:2]
    shown = [j for j in np.argsort(np.zeros(len(classes)) if scores is None else scores, kind="stable")
             if classes[j] >= 0]  # fmt: skip
    for j in shown:
        left, top, right, bottom = (round(float(edge)) for edge in factor * boxes[j])
        edges = (left, top, max(left, min(right, width) - 1), max(top, min(bottom, height) - 1))
        draw.rectangle(edges, outline=(0, 0, 0), width=line + 2)  # a dark rim, seen on any ground
        draw.rectangle(edges, outline=color(classes[j]), width=line)
    for j in shown:
        left, top = (round(float(edge)) for edge in factor * boxes[j][:2])
        name = class_names[classes[j]]
        _label(draw, name if scores is None else f"{name} {100 * scores[j]:.0f} %", classes[j], left, top, canvas)
    return np.asarray(picture)


def mask_on(image: np.ndarray, mask: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """`image` uint8 (height, width, 1 or 3) with the classes of its pixels, `mask` uint8 (height, width), as tints.

    Class k is k + 1 in the mask; the background, 0, stays clear, and what is void is gray. All regions but the smallest
    have their names. Returns uint8 (height, width, 3), enlarged by a whole number where the image is small.
    """
    from PIL import Image, ImageDraw
    from scipy import ndimage

    canvas, factor = _enlarged(image)
    mask = mask.repeat(factor, axis=0).repeat(factor, axis=1)
    seen = [int(value) for value in np.unique(mask) if value not in (0, VOID)]
    tints = np.zeros((256, 3))
    tints[VOID] = 128
    for value in seen:
        tints[value] = color(value - 1)
    blended = np.where(mask[..., None] == 0, canvas, (1 - TINT) * canvas + TINT * tints[mask]).astype(np.uint8)
    for value in seen:
        region = mask == value
        edge = region & ~ndimage.binary_erosion(region, iterations=_line(canvas), border_value=1)
        blended[edge] = color(value - 1)
    picture = Image.fromarray(blended)
    draw = ImageDraw.Draw(picture)
    for value in seen:
        regions, _ = ndimage.label(mask == value)
        for number, (rows, columns) in enumerate(ndimage.find_objects(regions), 1):
            region = regions[rows, columns] == number
            if np.count_nonzero(region) >= NAMED * mask.size:
                # The name stands where the region is widest.
                depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
                row, column = np.unravel_index(depth.argmax(), depth.shape)
                left, top = int(column) + columns.start, int(row) + rows.start
                _label(draw, class_names[value - 1], value - 1, left, top, canvas, centered=True)
    return np.asarray(picture)


def heat_on(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """`image` uint8 (height, width, 1 or 3) in gray, with heat (rows, columns) from 0 to 1 spread over it in colors.

    Each pixel of the image has one color. Returns uint8 (height, width, 3), enlarged as `boxes_on` does.
    """
    from PIL import Image

    height, width = image.shape[:2]
    spread = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    steps = np.linspace(0, 1, len(INFERNO))
    colors = np.stack([np.interp(spread, steps, shade) for shade in zip(*INFERNO, strict=True)], axis=-1)
    gray = image.mean(axis=-1, keepdims=True)
    return _enlarged(((1 - GLOW) * gray + GLOW * colors).round().astype(np.uint8))[0]


def color(k: int) -> Color:
    """The color of class `k`: hues a golden section apart, of which neighbors are far from each other."""
    shares = colorsys.hls_to_rgb((0.58 + k * 0.6180339887) % 1, (0.5, 0.62, 0.4)[k % 3], 0.9)
    return tuple(round(255 * share) for share in shares)


def _enlarged(image: np.ndarray) -> tuple[np.ndarray, int]:
    """`image` in three channels, by how many times as large."""
    factor = max(1, -(-SMALL // max(image.shape[:2])))
    colors = np.broadcast_to(image, (*image.shape[:2], 3))
    return colors.repeat(factor, axis=0).repeat(factor, axis=1), factor


def _line(canvas: np.ndarray) -> int:
    """The width of lines in pixels."""
    return max(2, round(max(canvas.shape) / 256))


def _label(draw: ImageDraw, text: str, k: int, left: int, top: int, canvas: np.ndarray, centered: bool = False) -> None:
    """A name on its color, above a place or in its middle, always within the canvas."""
    from PIL import ImageFont

    font = ImageFont.load_default(max(12, round(max(canvas.shape) / 28)))
    ground, rim = color(k), _line(canvas)
    box = draw.textbbox((0, 0), text, font)
    wide, high = box[2] + 2 * rim, box[3] + 2 * rim
    left, top = (left - wide // 2, top - high // 2) if centered else (left, top - high if top >= high else top)
    left, top = max(0, min(left, canvas.shape[1] - wide)), max(0, min(top, canvas.shape[0] - high))
    draw.rectangle((left, top, left + wide - 1, top + high - 1), fill=ground)
    light = 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2]
    draw.text((left + rim, top + rim), text, fill=(0, 0, 0) if light > 128 else (255, 255, 255), font=font)

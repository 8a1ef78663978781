"""Draw boxes, masks and heat maps on uint8 images, with class names."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cifar.interfaces import VOID
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SMALL = 384
"""Pixels. Images whose sides are both shorter are enlarged, so that lines and labels fit."""
MASK_ALPHA = 0.45
"""Opacity of a mask's color."""
MIN_LABELED_AREA = 0.005
"""Smallest share of an image that a mask's region must cover to get a label."""

Color = tuple[int, int, int]

INFERNO: tuple[Color, ...] = (
    (0, 0, 4), (22, 11, 57), (66, 10, 104), (106, 23, 110), (147, 38, 103), (188, 55, 84), (221, 81, 58),
    (243, 120, 25), (252, 165, 10), (246, 215, 70), (252, 255, 164),
)  # fmt: skip
"""matplotlib's `inferno`, a perceptually uniform color map, at 0, 0.1, … 1."""
HEAT_ALPHA = 0.5
"""Opacity of a heat map's color."""


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    class_names: Sequence[str],
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Draw boxes (k, 4), in pixels of `image` uint8 (height, width, 1 or 3), with class names and scores.

    Boxes of class -1 are padding. Returns uint8 (height, width, 3), enlarged by a whole factor if the image is small.
    """
    from PIL import Image, ImageDraw

    canvas, factor = _enlarge(image)
    picture = Image.fromarray(canvas)
    draw, line = ImageDraw.Draw(picture), _line(canvas)
    height, width = canvas.shape[:2]
    shown = [j for j in np.argsort(np.zeros(len(classes)) if scores is None else scores, kind="stable")
             if classes[j] >= 0]  # fmt: skip
    for j in shown:
        left, top, right, bottom = (round(float(edge)) for edge in factor * boxes[j])
        edges = (left, top, max(left, min(right, width) - 1), max(top, min(bottom, height) - 1))
        draw.rectangle(edges, outline=(0, 0, 0), width=line + 2)  # a dark rim is visible on any background
        draw.rectangle(edges, outline=class_color(classes[j]), width=line)
    for j in shown:
        left, top = (round(float(edge)) for edge in factor * boxes[j][:2])
        name = class_names[classes[j]]
        _label(draw, name if scores is None else f"{name} {100 * scores[j]:.0f} %", classes[j], left, top, canvas)
    return np.asarray(picture)


def draw_mask(image: np.ndarray, mask: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Draw `mask` uint8 (height, width) on `image` uint8 (height, width, 1 or 3) in the colors of its classes.

    Class k is k + 1 in the mask; background (0) stays clear and `VOID` is gray. All regions but the smallest are
    labeled. Returns uint8 (height, width, 3), enlarged by a whole factor if the image is small.
    """
    from PIL import Image, ImageDraw
    from scipy import ndimage

    canvas, factor = _enlarge(image)
    mask = mask.repeat(factor, axis=0).repeat(factor, axis=1)
    seen = [int(value) for value in np.unique(mask) if value not in (0, VOID)]
    tints = np.zeros((256, 3))
    tints[VOID] = 128
    for value in seen:
        tints[value] = class_color(value - 1)
    blended = np.where(mask[..., None] == 0, canvas, (1 - MASK_ALPHA) * canvas + MASK_ALPHA * tints[mask]).astype(
        np.uint8
    )
    for value in seen:
        region = mask == value
        edge = region & ~ndimage.binary_erosion(region, iterations=_line(canvas), border_value=1)
        blended[edge] = class_color(value - 1)
    picture = Image.fromarray(blended)
    draw = ImageDraw.Draw(picture)
    for value in seen:
        regions, _ = ndimage.label(mask == value)
        for number, (rows, columns) in enumerate(ndimage.find_objects(regions), 1):
            region = regions[rows, columns] == number
            if np.count_nonzero(region) >= MIN_LABELED_AREA * mask.size:
                # The label goes where the region is widest.
                depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
                row, column = np.unravel_index(depth.argmax(), depth.shape)
                left, top = int(column) + columns.start, int(row) + rows.start
                _label(draw, class_names[value - 1], value - 1, left, top, canvas, centered=True)
    return np.asarray(picture)


def draw_targets(image: np.ndarray, targets: Mapping[str, np.ndarray], class_names: Sequence[str]) -> np.ndarray:
    """Draw the boxes of an image, or its mask if it has no boxes; other targets cannot be drawn."""
    if "boxes" in targets:
        return draw_boxes(image, targets["boxes"], targets["classes"], class_names)
    return draw_mask(image, targets["mask"], class_names) if "mask" in targets else image


def draw_heatmap(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Draw a heat map (rows, columns) with values from 0 to 1 over a gray version of `image` uint8 (…, 1 or 3).

    The heat map is interpolated to the image's size. Returns uint8 (height, width, 3), enlarged like `draw_boxes`.
    """
    from PIL import Image

    height, width = image.shape[:2]
    spread = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    steps = np.linspace(0, 1, len(INFERNO))
    colors = np.stack([np.interp(spread, steps, shade) for shade in zip(*INFERNO, strict=True)], axis=-1)
    gray = image.mean(axis=-1, keepdims=True)
    return _enlarge(((1 - HEAT_ALPHA) * gray + HEAT_ALPHA * colors).round().astype(np.uint8))[0]


def class_color(k: int) -> Color:
    """Return the color of class `k`; hues are a golden ratio apart, so that neighboring classes differ clearly."""
    red, green, blue = colorsys.hls_to_rgb((0.58 + k * 0.6180339887) % 1, (0.5, 0.62, 0.4)[k % 3], 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _enlarge(image: np.ndarray) -> tuple[np.ndarray, int]:
    """Return `image` with three channels, enlarged, and the factor."""
    factor = max(1, -(-SMALL // max(image.shape[:2])))
    colors = np.broadcast_to(image, (*image.shape[:2], 3))
    return colors.repeat(factor, axis=0).repeat(factor, axis=1), factor


def _line(canvas: np.ndarray) -> int:
    """Return the width of lines in pixels."""
    return max(2, round(max(canvas.shape) / 256))


def _label(draw: ImageDraw, text: str, k: int, left: int, top: int, canvas: np.ndarray, centered: bool = False) -> None:
    """Draw a label on the class's color, above (left, top) or centered there, within the canvas."""
    from PIL import ImageFont

    font = ImageFont.load_default(max(12, round(max(canvas.shape) / 28)))
    ground, rim = class_color(k), _line(canvas)
    box = draw.textbbox((0, 0), text, font)
    wide, high = int(box[2]) + 2 * rim, int(box[3]) + 2 * rim
    left, top = (left - wide // 2, top - high // 2) if centered else (left, top - high if top >= high else top)
    left, top = max(0, min(left, canvas.shape[1] - wide)), max(0, min(top, canvas.shape[0] - high))
    draw.rectangle((left, top, left + wide - 1, top + high - 1), fill=ground)
    light = 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2]
    draw.text((left + rim, top + rim), text, fill=(0, 0, 0) if light > 128 else (255, 255, 255), font=font)

"""Figures of masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cifar.images.overlay import draw_mask
from cifar.interfaces import VOID
from cifar.plots.style import AMBER, BLUE, ORANGE, SMALL, WIDTH, new_figure, short

ERRORS = {"missed": BLUE, "taken for another class": AMBER, "background taken for a class": ORANGE}
"""Kinds of wrong pixels, with their colors."""


def mask_sheet(
    images: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    class_names: Sequence[str],
    titles: Sequence[str],
    title: str,
) -> Figure:
    """A row per image: image, true mask, predicted mask, and errors.

    `images` is uint8 (n, height, width, 1 or 3), masks are uint8 (n, height, width) as in `Split`, with the class k of
    `class_names` as k + 1. `titles` (n,) are those of the rows, of two lines each.
    """
    count, height, width, _ = images.shape
    names = [short(name) for name in class_names]
    row = WIDTH / 4 * height / width + 0.45
    figure, axes = new_figure(title, 0.8 + row * count, count, 4)
    for row_axes, image, true, prediction, row_title in zip(axes, images, truth, predicted, titles, strict=True):
        gray = np.broadcast_to(image.mean(axis=-1, keepdims=True, dtype=np.float32), (height, width, 3))
        panels = (
            np.broadcast_to(image, (height, width, 3)),
            draw_mask(image, true, names),
            draw_mask(image, prediction, names),
            _errors(gray, true, prediction),
        )
        for ax, panel, head in zip(row_axes, panels, ("", "truth", "prediction", "errors"), strict=True):
            ax.imshow(panel, interpolation="auto")
            ax.axis("off")
            ax.set_title(head, fontsize=SMALL)
        lines = [short(line, 24) for line in row_title.splitlines()]
        row_axes[0].set_title("\n".join(lines), fontsize=SMALL, loc="left")
    handles = [Patch(color=color, label=label) for label, color in ERRORS.items()]
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), frameon=False, fontsize=SMALL)
    return figure


def _errors(gray: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Draw wrong pixels in the colors of `ERRORS` on a pale `gray` (height, width, 3); `VOID` is white."""
    wrong = (true != predicted) & (true != VOID)
    kinds = (wrong & (predicted == 0), wrong & (true > 0) & (predicted > 0), wrong & (true == 0))
    picture = (160 + 0.37 * gray).astype(np.uint8)
    picture[true == VOID] = 255
    for kind, color in zip(kinds, ERRORS.values(), strict=True):
        picture[kind] = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    return picture

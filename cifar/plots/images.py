"""Sheets of images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar.plots.style import SMALL, TEXT, WIDTH, new_figure, short


def confident_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    confidence: np.ndarray,
    class_names: Sequence[str],
    ids: Sequence[str] | None = None,
    count: int = 25,
) -> Figure:
    """The `count` wrong predictions of highest confidence, each titled with class, predicted class, confidence, and id.

    `images` is uint8 (n, height, width, 1 or 3); `labels` and `predicted` are (n,) int class indices, `confidence` (n,)
    is the probability of the predicted class.
    """
    wrong = np.flatnonzero(np.asarray(labels) != np.asarray(predicted))
    worst = wrong[np.argsort(-np.asarray(confidence)[wrong], kind="stable")][:count]
    names = [short(name, 18) for name in class_names]
    titles = [f"{names[labels[i]]}\n→ {names[predicted[i]]}\n{100 * confidence[i]:.1f} %{_file(ids, i)}" for i in worst]
    title = f"The {len(worst)} most confident of {len(wrong):,} mistakes in {len(labels):,} images: true → predicted"
    if len(worst) == len(wrong):
        title = f"All {len(wrong):,} mistakes in {len(labels):,} images: true → predicted"
    return image_sheet(images[worst], titles, title if len(wrong) else f"No mistakes in {len(labels):,} images")


def wrong_labels(
    images: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    ids: Sequence[str] | None = None,
    count: int = 25,
) -> Figure:
    """The `count` images with the most confident wrong labels, each titled by its worst one, and its id.

    `images` is uint8 (n, height, width, 1 or 3); `truth` and `predicted` are bool (n, classes).
    """
    error = np.where(truth != predicted, np.abs(truth - probabilities), 0)
    label, wrong = error.argmax(axis=1), np.flatnonzero(error.any(axis=1))
    worst = wrong[np.argsort(-error.max(axis=1)[wrong], kind="stable")][:count]
    titles = [
        f"{short(class_names[label[i]], 13)} {'missed' if truth[i, label[i]] else 'wrong'}\n"
        f"{100 * probabilities[i, label[i]]:.1f} %{_file(ids, i)}"
        for i in worst
    ]
    title = f"The {len(worst)} most confident of {len(wrong):,} images with wrong labels, of {len(truth):,} images"
    if len(worst) == len(wrong):
        title = f"All {len(wrong)} images with wrong labels, of {len(truth):,} images"
    return image_sheet(images[worst], titles, title if len(wrong) else f"No wrong labels in {len(truth):,} images")


def _file(ids: Sequence[str] | None, i: int) -> str:
    """A line of a title for the id of an image, shortened to the width of an image of a sheet."""
    return "" if ids is None else f"\n{short(str(ids[i]), 22)}"


def image_sheet(images: np.ndarray, titles: Sequence[str] | None = None, title: str = "", columns: int = 5) -> Figure:
    """Images in rows of `columns` with titles. `images` is uint8 (n, height, width, 1 or 3)."""
    _, height, width, _ = images.shape
    rows = max(1, math.ceil(len(images) / columns))
    cell = WIDTH / columns * height / width if len(images) else 0
    lines = max((text.count("\n") + 1 for text in titles or ()), default=0)
    figure, axes = new_figure(title, 0.3 + rows * (cell + 0.16 * lines + 0.15), rows, columns)
    for ax in axes.flat:
        ax.axis("off")
    for i, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        draw_image(ax, image)
        if titles is not None:
            ax.set_title(titles[i], fontsize=SMALL)
    return figure


def augmented_sheet(originals: np.ndarray, augmented: np.ndarray) -> Figure:
    """Augmented images: each row has an original on the left and augmented versions on the right.

    `originals` is uint8 (rows, height, width, 1 or 3), `augmented` uint8 (rows, versions, height, width, 1 or 3).
    """
    rows, versions, height, width, channels = augmented.shape
    left, right = _mosaic(originals[:, None]), _mosaic(augmented)
    gutter = np.full((len(left), width // 4, channels), 255, np.uint8)
    cell = min(WIDTH / (versions + 1.3), 1.2)
    figure, axes = new_figure(f"Augmentation: {versions} versions of each image", 0.6 + rows * cell * height / width)
    ax = axes[0, 0]
    draw_image(ax, np.concatenate([left, gutter, right], axis=1))
    for column, text in ((0, "original"), (left.shape[1] + width // 4, "augmented")):
        ax.text(column - 0.5, -0.5 - height / 16, text, fontsize=TEXT)
    ax.set_anchor("NW")
    return figure


def draw_image(ax: Axes, image: np.ndarray) -> None:
    """Draw an image (height, width, 1 or 3); small images are enlarged by nearest neighbor."""
    ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255, interpolation="auto")
    ax.axis("off")


def _mosaic(images: np.ndarray) -> np.ndarray:
    """Join images (rows, columns, height, width, channels) to one with white gaps: faster than one axes per image."""
    gap = max(1, images.shape[2] // 16)
    tiles = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    rows, columns, height, width, channels = tiles.shape
    return tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
